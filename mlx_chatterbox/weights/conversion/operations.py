"""The operations of a conversion plan on tensors: folding weight norm, transposing, casting."""

from __future__ import annotations

from collections.abc import Sequence

import mlx.core as mx
import numpy as np

from mlx_chatterbox.errors import CheckpointError

from .rules import PlanEntry, axes_of

PIECE = 2**20


def magnitude(direction: mx.array) -> mx.array:
    """Compute the norm of each slice along the first axis, as PyTorch's weight norm does.

    Args:
        direction: (N, ...) in PyTorch's layout, also for transposed convolutions.

    Returns:
        (N, 1, ...) float32.
    """
    values = np.array(direction.astype(mx.float32))
    # A float32 sum of thousands of squares would lose a digit.
    squares = np.square(values, dtype=np.float64)
    norm = np.sqrt(squares.sum(axis=tuple(range(1, values.ndim)), keepdims=True))
    return mx.array(norm.astype(np.float32))


def fold_weight_norm(g: mx.array, v: mx.array) -> mx.array:
    """Compute the weight (N, ...), float32, of magnitude `g` (N, 1, ...) and direction `v`."""
    norm = magnitude(v)
    return v.astype(mx.float32) * (g.astype(mx.float32).reshape(norm.shape) / norm)


def apply_entry(entry: PlanEntry, sources: Sequence[mx.array], dtype: mx.Dtype) -> mx.array:
    """Compute the tensor of a plan's entry, and evaluate it.

    Args:
        dtype: of the result, if it is floating-point.

    Raises:
        CheckpointError: a value is not finite, or too large for `dtype`.
    """
    if entry.operation == "zeros":
        return mx.zeros(entry.shape, dtype)
    tensor = fold_weight_norm(*sources) if len(sources) == 2 else sources[0]
    axes = axes_of(entry.operation)
    if axes is not None:
        tensor = mx.contiguous(tensor.transpose(axes))
    exact, tensor = tensor, _evaluated(tensor.astype(dtype) if _floating(tensor) else tensor)
    if _floating(tensor) and not _finite(tensor):
        origin = f"{entry.file}: {', '.join(entry.sources)}"
        if not _finite(exact):
            raise CheckpointError(f"{origin} holds values that are not finite: damaged weights.")
        name = str(dtype).rpartition(".")[2]
        raise CheckpointError(f"{origin} holds values too large for {name}; take another dtype.")
    return tensor


def _evaluated(tensor: mx.array) -> mx.array:
    tensor = mx.contiguous(tensor)
    mx.eval(tensor)
    return tensor


def _floating(tensor: mx.array) -> bool:
    return mx.issubdtype(tensor.dtype, mx.floating)


def _finite(tensor: mx.array) -> bool:
    """Tell whether all values are finite; piece by piece, to save memory."""
    values = tensor.reshape(-1)
    return all(
        mx.isfinite(values[start : start + PIECE]).all().item()
        for start in range(0, values.size, PIECE)
    )
