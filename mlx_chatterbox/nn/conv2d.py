"""Two-dimensional convolutions over (B, F, T, C).

On the CPU MLX unfolds a whole input, a hundred megabytes for ten seconds of speech. Here it is
compiled C (`native`) or, without it or for gradients, one matrix product for each tap, added
up: with the padding in place, moving by a tap is moving along memory. On the GPU MLX's own
kernels serve.
"""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn

from ..runtime import device, native
from .conv import stacked
from .gradients import with_gradient_of

# Entries of a block of rows, 1 MB, so that the sums stay in the cache.
_ENTRIES_AT_ONCE = 1 << 18


class Conv2d(nn.Conv2d):
    """`nn.Conv2d` without bias, dilation or groups, whose stride is along the first axis alone."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, padding=0
    ):
        super().__init__(in_channels, out_channels, kernel_size, (stride, 1), padding, bias=False)

    def __call__(self, x: mx.array) -> mx.array:
        """(B, F, T, C_in) to (B, F', T', C_out)."""
        if not device.on_cpu():
            return super().__call__(x)
        weight, dtype = self.weight, mx.result_type(x.dtype, self.weight.dtype)
        if device.is_half(x, weight):  # as in `conv.py`
            x, weight = x.astype(mx.float32), weight.astype(mx.float32)
        if any(self.padding):
            before, along = self.padding
            x = mx.pad(x, [(0, 0), (before, before), (along, along), (0, 0)])
        by = _by_taps if self.training or not native.takes(x, weight) else _in_one_go
        return stacked([by(row, weight, self.stride[0]) for row in x]).astype(dtype)


def _in_one_go(x: mx.array, weight: mx.array, stride: int) -> mx.array:
    """Compute `_by_taps` in compiled code (`native`)."""
    out_channels, high, wide, channels = weight.shape
    lines, frames = (x.shape[0] - high) // stride + 1, x.shape[1] - wide + 1

    @with_gradient_of(lambda x, weight: _by_taps(x, weight, stride))
    def convolved(x: mx.array, weight: mx.array) -> mx.array:
        sizes = (lines, frames, channels, out_channels, high, wide, 1, stride)
        shape, shapes = (lines, frames, out_channels), [(*x.shape[:2], channels), weight.shape]
        return native.call("convolve", [x, weight, None], shapes, shape, *sizes)

    return convolved(x, weight)


def _by_taps(x: mx.array, weight: mx.array, stride: int) -> mx.array:
    """x (F, T, C_in), padded, by weight (C_out, K, L, C_in)."""
    out_channels, high, wide, channels = weight.shape
    width = x.shape[1]
    rows, columns = (x.shape[0] - high) // stride + 1, width - wide + 1
    # For each tap along the first axis, the lines that it meets, in order.
    lines = [
        x[tap : tap + stride * (rows - 1) + 1 : stride].reshape(rows * width, channels)
        for tap in range(high)
    ]
    at_once = max(_ENTRIES_AT_ONCE // (width * max(channels, out_channels)), 1)
    pieces = []
    for first in range(0, rows, at_once):
        count = min(at_once, rows - first)
        # The last columns of a line run into the next line; they are cut off below.
        start, length = first * width, count * width - wide + 1
        out: mx.array | None = None
        for across, line in enumerate(lines):
            for tap in range(wide):
                seen = line[start + tap : start + tap + length]
                matrix = weight[:, across, tap].T
                out = seen @ matrix if out is None else mx.addmm(out, seen, matrix)
        assert out is not None  # a kernel has taps
        out = mx.pad(out, [(0, wide - 1), (0, 0)]).reshape(count, width, out_channels)
        pieces.append(out[:, :columns])
    return mx.concatenate(pieces)
