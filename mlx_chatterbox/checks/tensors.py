"""Checks of tokens, shapes and numbers before they are used as indices, shapes or input."""

from __future__ import annotations

from typing import Protocol

import mlx.core as mx
import numpy as np

from ..errors import CheckpointError

Shape = tuple[int | None, ...]
Array = mx.array | np.ndarray


class HasShape(Protocol):
    """An array, or a description of one."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def ndim(self) -> int: ...


def check_shape(
    values: HasShape, shape: Shape, name: str, error: type[Exception] = CheckpointError
) -> None:
    """Check the shape of `values`.

    Args:
        shape: a length for each axis, None for any from 1.
        name: of the values, for errors.

    Raises:
        Exception: of type `error`: another shape.
    """
    fits = len(shape) == values.ndim and all(
        n == wanted if wanted is not None else n > 0
        for n, wanted in zip(values.shape, shape, strict=True)
    )
    if not fits:
        wanted = ", ".join("any" if n is None else str(n) for n in shape)
        wanted += "," if len(shape) == 1 else ""
        raise error(f"{name} has shape {tuple(values.shape)}, not ({wanted}).")


def check_tokens(
    values: Array, count: int, name: str, error: type[Exception] = CheckpointError
) -> None:
    """Check that all values are indices into a table: integers from 0 to `count` - 1.

    Raises:
        Exception: of type `error`: another type of number, or one outside the table.
    """
    values = _numpy(values)
    if values.dtype.kind not in "iu":
        raise error(f"{name} must be whole numbers; got {values.dtype}.")
    if values.size:
        least, most = int(values.min()), int(values.max())
        if least < 0 or most >= count:
            raise error(f"{name} must be from 0 to {count - 1}; got {least} to {most}.")


def check_finite(values: Array, name: str, error: type[Exception] = CheckpointError) -> None:
    """Check that all values are floating-point numbers, and finite.

    Raises:
        Exception: of type `error`: another type, NaN or Inf.
    """
    values = _numpy(values)
    if values.dtype.kind != "f":
        raise error(f"{name} must be floating-point numbers; got {values.dtype}.")
    if not np.isfinite(values).all():
        raise error(f"{name} holds NaN or Inf.")


def _numpy(values: Array) -> np.ndarray:
    if isinstance(values, mx.array) and values.dtype == mx.bfloat16:  # which NumPy lacks
        values = values.astype(mx.float32)
    return np.asarray(values)
