"""The base of all configurations: plain dataclasses that refuse unknown keys.

A misspelt hyperparameter fails when the file is read, instead of being ignored and noticed by ear;
so does a value of another type than its field's. No MLX here: converting and listing models must
not load a network.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar, get_type_hints

from ..errors import CheckpointError
from .plain import WrongType, named, shown, typed

# No network of speech has a tenth of it, and MLX counts the elements along an axis in 32 bits.
MAX_SIZE = 2**20


@dataclass
class Config:
    """Base of the hyperparameter dataclasses; nested ones are converted on the way in and out.

    Attributes:
        MAY_BE_ZERO: fields that may be 0: indices, and features that 0 switches off.
        CHOICES: the values that a field can have, by its name.
    """

    MAY_BE_ZERO: ClassVar[frozenset[str]] = frozenset()
    CHOICES: ClassVar[dict[str, tuple]] = {}

    @classmethod
    def from_dict(cls, values: dict[str, Any]):
        """Build from plain values.

        Raises:
            CheckpointError: a key that is no field, or a value that is not of its field's type or
                cannot be a size.
        """
        if not isinstance(values, dict):
            raise CheckpointError(f"{cls.__name__}: expected an object, got {shown(values)}.")
        hints = get_type_hints(cls)
        names = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(named(key) for key in values if key not in names)
        if unknown:
            raise CheckpointError(
                f"{cls.__name__}: unknown key(s) {', '.join(unknown[:3])}; known are "
                f"{', '.join(sorted(names))}."
            )
        try:
            built = {key: cls._checked(key, value, hints[key]) for key, value in values.items()}
        except WrongType as error:
            raise CheckpointError(f"{cls.__name__}: {error}.") from None
        return cls(**built)

    @classmethod
    def _checked(cls, key: str, value: Any, kind: Any) -> Any:
        if isinstance(kind, type) and issubclass(kind, Config):
            return kind.from_dict(value)
        value = typed(value, kind, key)
        if key not in cls.MAY_BE_ZERO and _has_zero(value):
            raise WrongType(f"{key} is 1 or more; got {shown(value)}")
        if _largest(value) > MAX_SIZE:
            raise WrongType(f"{key} is at most {MAX_SIZE}; got {shown(value)}")
        if key.endswith("_eps") and not 0 < value <= 1:
            raise WrongType(f"{key} is more than 0 and at most 1; got {shown(value)}")
        choices = cls.CHOICES.get(key)
        if choices is not None and value not in choices:
            known = ", ".join(map(str, choices))
            raise WrongType(f"{key} {shown(value)} is none of {known}")
        return value

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return dataclasses.asdict(self)

    def layers(self) -> int:
        """Count the layers that it describes; each has at least one tensor in a checkpoint."""
        values = (getattr(self, field.name) for field in dataclasses.fields(self))
        return sum(value.layers() for value in values if isinstance(value, Config))

    def check_layers(self, tensors: int, name: object) -> None:
        """Raise CheckpointError if it has more layers than a checkpoint has tensors.

        To be called before the network is built, which takes time and memory for each layer.

        Args:
            name: of the checkpoint, for the message.
        """
        if self.layers() > tensors:
            raise CheckpointError(
                f"{name} has {tensors} tensors, and its configuration {self.layers()} layers: "
                "they do not belong together."
            )


def _has_zero(value: Any) -> bool:
    """Tell whether an integer, or one in a list, is 0."""
    if isinstance(value, list):
        return any(map(_has_zero, value))
    return type(value) is int and value == 0


def _largest(value: Any) -> int:
    """Return the largest whole number in a value, lists within lists looked through; 0: none."""
    if isinstance(value, list):
        return max(map(_largest, value), default=0)
    return value if type(value) is int else 0


def need(network: str, **rules: bool) -> None:
    """Raise CheckpointError unless all rules hold, whose names say what they are about."""
    broken = [name for name, holds in rules.items() if not holds]
    if broken:
        raise CheckpointError(f"{network} cannot be built with this {broken[0]}.")


def divides(whole: int, part: int) -> bool:
    """Tell whether `whole` is a positive multiple of `part`."""
    return part > 0 and whole > 0 and whole % part == 0
