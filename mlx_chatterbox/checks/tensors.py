"""Tokens, shapes and numbers against what they are an index, a shape or an input of."""

from __future__ import annotations

import mlx.core as mx

from ..errors import ChatterboxError, CheckpointError

Shape = tuple[int | None, ...]


def check_shape(
    values: mx.array, shape: Shape, name: str, error: type[ChatterboxError] = CheckpointError
) -> mx.array:
    """`values`, if they have a shape.

    Args:
        shape: a length for each axis, None for any from 1.
        name: of the values, for errors.

    Raises:
        ChatterboxError: of type `error`: another shape.
    """
    fits = len(shape) == values.ndim and all(
        n == wanted if wanted is not None else n > 0
        for n, wanted in zip(values.shape, shape, strict=True)
    )
    if not fits:
        wanted = ", ".join("any" if n is None else str(n) for n in shape)
        wanted += "," if len(shape) == 1 else ""
        raise error(f"{name} has shape {tuple(values.shape)}, not ({wanted}).")
    return values


def check_tokens(
    values: mx.array, count: int, name: str, error: type[ChatterboxError] = CheckpointError
) -> mx.array:
    """Whole numbers from 0 to `count` - 1, as int32: indices into a table of `count` rows.

    Raises:
        ChatterboxError: of type `error`: another type of number, or one outside the table.
    """
    if not mx.issubdtype(values.dtype, mx.integer):
        raise error(f"{name} must be whole numbers; got {_type_name(values)}.")
    if values.size:
        # Before any conversion: 2^32 would become 0.
        least, most = values.min().item(), values.max().item()
        if least < 0 or most >= count:
            raise error(f"{name} must be from 0 to {count - 1}; got {least} to {most}.")
    return values.astype(mx.int32)


def check_finite(
    values: mx.array, name: str, error: type[ChatterboxError] = CheckpointError
) -> mx.array:
    """Floating-point numbers, all finite.

    Raises:
        ChatterboxError: of type `error`: another type, NaN or Inf.
    """
    if not mx.issubdtype(values.dtype, mx.floating):
        raise error(f"{name} must be floating-point numbers; got {_type_name(values)}.")
    if not mx.isfinite(values).all().item():
        raise error(f"{name} holds NaN or Inf.")
    return values


def _type_name(values: mx.array) -> str:
    return str(values.dtype).rpartition(".")[2]
