"""What every configuration has in common: plain dataclasses that refuse keys they do not know.

A misspelt hyperparameter fails when the file is read, instead of being dropped and found out by
ear. No MLX here: converting and listing models must not load a network.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, get_type_hints

from .errors import CheckpointError


@dataclass
class Config:
    """Base of the hyperparameter dataclasses; nested ones are converted on the way in and out."""

    @classmethod
    def from_dict(cls, values: dict[str, Any]):
        """Build from plain values.

        Raises:
            CheckpointError: a key that is no field, or a value of the wrong kind of container.
        """
        if not isinstance(values, dict):
            raise CheckpointError(f"{cls.__name__}: expected an object, got {values!r}.")
        hints = get_type_hints(cls)
        names = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(set(values) - names)
        if unknown:
            raise CheckpointError(
                f"{cls.__name__}: unknown key(s) {', '.join(unknown)}; known are "
                f"{', '.join(sorted(names))}."
            )
        built = {}
        for key, value in values.items():
            kind = hints[key]
            nested = isinstance(kind, type) and issubclass(kind, Config)
            built[key] = kind.from_dict(value) if nested else value
        return cls(**built)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return dataclasses.asdict(self)
