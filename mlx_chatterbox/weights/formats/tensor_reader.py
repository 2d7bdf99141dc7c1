"""The interface that readers of all formats have in common."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import mlx.core as mx


class TensorReader(Protocol):
    """An open file of tensors, which are read one at a time.

    Attributes:
        path: of the file, for errors.
        shapes, dtypes: of every tensor by its key; types by their names in safetensors files.
    """

    @property
    def path(self) -> Path: ...

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]: ...

    @property
    def dtypes(self) -> Mapping[str, str]: ...

    def read(self, key: str) -> mx.array:
        """Read one tensor.

        Raises:
            CheckpointError: the file is damaged, or has changed since it was opened.
        """

    def close(self) -> None:
        """Let go of the file."""
