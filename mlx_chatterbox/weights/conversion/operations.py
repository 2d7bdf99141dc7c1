"""What a plan's entries do to tensors: folding weight norm, transposing, casting."""

from __future__ import annotations

from collections.abc import Sequence

import mlx.core as mx
import numpy as np

from mlx_chatterbox.errors import CheckpointError

from .rules import PlanEntry, axes_of

PIECE = 2**20


def magnitude(direction: mx.array) -> mx.array:
    """Norm of each slice along the first axis, as PyTorch's weight norm takes it.

    direction: (N, ...) in PyTorch's layout, also for transposed convolutions. Returns float32
    (N, 1, ...).
    """
    values = np.array(direction.astype(mx.float32))
    # Thousands of squares in a float32 sum would cost a digit that nothing later gives back.
    squares = np.square(values, dtype=np.float64)
    norm = np.sqrt(squares.sum(axis=tuple(range(1, values.ndim)), keepdims=True))
    return mx.array(norm.astype(np.float32))


def fold_weight_norm(g: mx.array, v: mx.array) -> mx.array:
    """The weight that magnitude `g` (N, 1, ...) and direction `v` (N, ...) stand for, float32."""
    norm = magnitude(v)
    return v.astype(mx.float32) * (g.astype(mx.float32).reshape(norm.shape) / norm)


def apply(entry: PlanEntry, sources: Sequence[mx.array], dtype: mx.Dtype) -> mx.array:
    """The tensor that `entry` describes, evaluated; floating ones in `dtype`, others as they are.

    Raises:
        CheckpointError: a value that is no number, or too large for `dtype`.
    """
    if entry.operation == "zeros":
        return mx.zeros(entry.shape, dtype)
    tensor = fold_weight_norm(*sources) if len(sources) == 2 else sources[0]
    axes = axes_of(entry.operation)
    if axes is not None:
        tensor = mx.contiguous(tensor.transpose(axes))
    given, tensor = tensor, _evaluated(tensor.astype(dtype) if _floating(tensor) else tensor)
    if _floating(tensor) and not _finite(tensor):
        origin = f"{entry.file}: {', '.join(entry.sources)}"
        if not _finite(given):
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
    """Whether all values are numbers; looked at piece by piece, for the memory's sake."""
    values = tensor.reshape(-1)
    return all(
        mx.isfinite(values[start : start + PIECE]).all().item()
        for start in range(0, values.size, PIECE)
    )
