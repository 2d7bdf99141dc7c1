"""Arrays of whichever library the caller has, in and out.

MLX arrays in give MLX arrays; anything else (NumPy arrays, lists, PyTorch tensors on any device)
gives NumPy arrays, float32 where the networks compute in less.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mlx.core as mx
import numpy as np

from ..checks.plain import MAX_INTEGER, shown
from ..checks.tensors import check_tokens
from ..errors import SettingError

ArrayLike = Any


def is_mlx(values: ArrayLike) -> bool:
    """True if the caller works with MLX: an MLX array, or a list of them."""
    if isinstance(values, (list, tuple)):
        return bool(values) and all(isinstance(value, mx.array) for value in values)
    return isinstance(values, mx.array)


def to_mlx(values: ArrayLike) -> mx.array:
    """Numbers of any kind as an MLX array; float64 becomes float32, as MLX computes float32.

    Raises:
        SettingError: not numbers, or rows of different lengths.
    """
    if isinstance(values, mx.array):
        return values
    if hasattr(values, "detach"):  # a PyTorch tensor, which is not imported here
        values = values.detach().cpu().numpy()
    try:
        values = np.asarray(values)
    except (ValueError, TypeError, OverflowError) as error:
        raise SettingError(f"not an array of numbers with rows of equal length: {error}.") from None
    if values.dtype.kind not in "biuf":
        raise SettingError(f"not an array of numbers: {shown(values.tolist())}.")
    return mx.array(values.astype(np.float32) if values.dtype == np.float64 else values)


def to_caller_library(values: mx.array, as_mlx: bool) -> mx.array | np.ndarray:
    """A result as an array of the caller's library: MLX's, else NumPy's."""
    if as_mlx:
        return values
    return np.array(values.astype(mx.float32) if values.dtype == mx.bfloat16 else values)


def split_rows(
    values: ArrayLike, lengths: ArrayLike | None, name: str, lengths_name: str, axes: int = 0
) -> list[mx.array]:
    """The rows of a padded batch, without their padding.

    Args:
        values: (n, ...), (B, n, ...), or a list of (n_i, ...), with `axes` axes after n.
        lengths: (B,) length of each row without its padding; None: nothing is padded.

    Returns:
        (n_i, ...) each.

    Raises:
        SettingError: another number of axes or of lengths, or a length that is not in its row.
    """
    if isinstance(values, (list, tuple)) and values and np.ndim(values[0]) > axes:
        rows = [to_mlx(row) for row in values]
    else:
        array = to_mlx(values)
        rows = list(array) if array.ndim == axes + 2 else [array]
    for row in rows:
        if row.ndim != axes + 1:
            raise SettingError(
                f"{name} has rows of {row.ndim} axes; it must be (B, n{', ...' * bool(axes)}), or "
                "a list of its rows."
            )
    if not rows:
        raise SettingError(f"{name} has no rows.")
    if lengths is None:
        return rows
    counts = whole_numbers(lengths, lengths_name)
    if len(counts) != len(rows):
        raise SettingError(f"{lengths_name} has {len(counts)} entries for {len(rows)} row(s).")
    for row, count in zip(rows, counts, strict=True):
        if not 0 < count <= row.shape[0]:
            raise SettingError(f"{lengths_name} has {count} for a row of length {row.shape[0]}.")
    return [row[:count] for row, count in zip(rows, counts, strict=True)]


def whole_numbers(values: ArrayLike, name: str) -> list[int]:
    """Lengths of any kind as numbers from 0.

    Raises:
        SettingError: not whole numbers, or too large for a length.
    """
    array = to_mlx(values)
    check_tokens(array, MAX_INTEGER, name, SettingError)
    return np.asarray(array).reshape(-1).tolist()


def broadcast_rows(values: Sequence, count: int, name: str) -> list:
    """One of `values` for each of `count` rows; a single one serves all.

    Raises:
        SettingError: another number.
    """
    if len(values) == 1:
        return list(values) * count
    if len(values) != count:
        raise SettingError(f"{name}: {len(values)} for {count} row(s) of tokens; give one or each.")
    return list(values)
