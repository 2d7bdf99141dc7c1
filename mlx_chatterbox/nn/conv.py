"""One-dimensional convolutions over (B, T, C).

On the CPU, MLX runs a dilated, grouped or transposed `conv1d` in a plain loop, a hundred times
slower than equivalent matrix products. So here a convolution of stride 1 is compiled C (`native`)
or, without it or for gradients, the sum of a product for each tap (of a multiplication, if it is
depthwise); one with a stride is a single product of its unfolded windows. Half precision, in which
a CPU computes number by number, becomes float32 for the product. On the GPU MLX's own kernels
serve.

A transposed convolution is a product and a few shifted additions on every device: unfolding over
the inserted zeros, as MLX does, costs `stride` times the work.
"""

from __future__ import annotations

import math

import mlx.core as mx
import mlx.nn as nn

from ..runtime import device, native
from .gradients import with_gradient_of

# From this many channels on, a product for each tap pays.
_ENOUGH_CHANNELS = 16
# Windows are unfolded 4 MB at a time, which stay in the cache; for the tens of megabytes of a whole
# recording, memory would come from the system page by page on every call.
_UNFOLDED_ENTRIES = 1 << 20


def conv1d(
    x: mx.array,
    weight: mx.array,
    stride: int = 1,
    padding: tuple[int, int] = (0, 0),
    dilation: int = 1,
    groups: int = 1,
    bias: mx.array | None = None,
    unfold: bool = False,
    evaluate: bool = False,
) -> mx.array:
    """Cross-correlate.

    Args:
        x: (B, T, C_in).
        weight: (C_out, K, C_in / groups); `groups` is 1 or, depthwise, C_in = C_out.
        padding: zeros before and after.
        bias: (C_out,), or None.
        unfold: on the CPU always one product, never one for each tap.
        evaluate: whether x may be evaluated now, as compiled code outside of MLX needs it.

    Returns:
        (B, (T + padding - dilation (K - 1) - 1) // stride + 1, C_out)
    """
    if device.on_cpu() and device.is_half(x, weight):
        full = mx.float32
        full_bias = None if bias is None else bias.astype(full)
        settings = stride, padding, dilation, groups, full_bias, unfold, evaluate
        return conv1d(x.astype(full), weight.astype(full), *settings).astype(x.dtype)
    if any(padding):
        x = mx.pad(x, [(0, 0), padding, (0, 0)])
    if not device.on_cpu():
        out = mx.conv1d(x, weight, stride=stride, dilation=dilation, groups=groups)
    elif groups != 1:
        if evaluate and stride == dilation == 1 and native.takes(x, weight):
            out = _depthwise_in_one_go(x, weight)
        else:
            out = _depthwise(x, weight, stride, dilation)
    elif not unfold and stride == 1 < weight.shape[1] and weight.shape[2] >= _ENOUGH_CHANNELS:
        if evaluate and native.takes(x, weight):
            return _in_one_go(x, weight, dilation, bias)
        return conv1d_by_taps(x, weight, dilation, bias)
    else:
        out = _as_product(x, weight, stride, dilation)
    return out if bias is None else out + bias


def stacked(rows: list[mx.array]) -> mx.array:
    """A batch's rows along a new first axis; one alone, as nearly always, is not copied."""
    return rows[0][None] if len(rows) == 1 else mx.stack(rows)


def conv1d_by_taps(
    x: mx.array, weight: mx.array, dilation: int = 1, bias: mx.array | None = None
) -> mx.array:
    """Convolve like `conv1d` with stride 1, without padding or groups: a product for each tap."""
    kernel = weight.shape[1]
    frames = x.shape[1] - dilation * (kernel - 1)
    first, *others = (weight[:, tap].T for tap in range(kernel))
    out = x[:, :frames] @ first if bias is None else mx.addmm(bias, x[:, :frames], first)
    for tap, matrix in enumerate(others, start=1):
        out = mx.addmm(out, x[:, tap * dilation : tap * dilation + frames], matrix)
    return out


def _in_one_go(x: mx.array, weight: mx.array, dilation: int, bias: mx.array | None) -> mx.array:
    """Compute `conv1d_by_taps` in compiled code (`native`)."""
    out_channels, kernel, channels = weight.shape
    frames = x.shape[1] - dilation * (kernel - 1)

    def by_taps(x: mx.array, weight: mx.array, *bias: mx.array) -> mx.array:
        return conv1d_by_taps(x, weight, dilation, *(bias or [None]))

    @with_gradient_of(by_taps)
    def convolved(x: mx.array, weight: mx.array, *bias: mx.array) -> mx.array:
        sizes = (1, frames, channels, out_channels, 1, kernel, dilation, 1)
        shapes = [(x.shape[1], channels), weight.shape, *[(out_channels,)] * len(bias)]
        others = [weight, bias[0] if bias else None]
        return stacked(
            [native.call("convolve", [row, *others], shapes, shape, *sizes) for row in x]
        )

    shape = (frames, out_channels)
    return convolved(x, weight) if bias is None else convolved(x, weight, bias)


def _as_product(x: mx.array, weight: mx.array, stride: int, dilation: int) -> mx.array:
    batch, length, channels = x.shape
    out_channels, kernel, _ = weight.shape
    frames = (length - dilation * (kernel - 1) - 1) // stride + 1
    if kernel == 1:
        return x[:, ::stride] @ weight[:, 0].T
    matrix = weight.reshape(out_channels, kernel * channels).T
    at_once = max(_UNFOLDED_ENTRIES // (kernel * channels), 1)
    pieces = []
    for first in range(0, frames, at_once):
        count = min(at_once, frames - first)
        windows = mx.as_strided(
            x,
            (batch, count, kernel, channels),
            (length * channels, stride * channels, dilation * channels, 1),
            first * stride * channels,
        )
        pieces.append(windows.reshape(batch, count, kernel * channels) @ matrix)
    return pieces[0] if len(pieces) == 1 else mx.concatenate(pieces, axis=1)


def _depthwise(x: mx.array, weight: mx.array, stride: int, dilation: int) -> mx.array:
    kernel = weight.shape[1]
    frames = (x.shape[1] - dilation * (kernel - 1) - 1) // stride + 1
    last = stride * (frames - 1) + 1
    starts = [tap * dilation for tap in range(kernel)]
    terms = [
        x[:, start : start + last : stride] * weight[:, tap, 0] for tap, start in enumerate(starts)
    ]
    return sum(terms[1:], start=terms[0])


def _depthwise_in_one_go(x: mx.array, weight: mx.array) -> mx.array:
    """Compute `_depthwise` with stride 1 in compiled code (`native`)."""
    channels, kernel, _ = weight.shape
    frames = x.shape[1] - kernel + 1

    @with_gradient_of(lambda x, weight: _depthwise(x, weight, 1, 1))
    def convolved(x: mx.array, weight: mx.array) -> mx.array:
        taps = weight[..., 0].T
        shape, sizes = (frames, channels), (frames, channels, kernel)
        shapes: list[tuple[int, ...]] = [(x.shape[1], channels), (kernel, channels)]
        return stacked(
            [native.call("convolve_depthwise", [row, taps], shapes, shape, *sizes) for row in x]
        )

    return convolved(x, weight)


def conv_transpose1d(x: mx.array, weight: mx.array, stride: int, padding: int = 0) -> mx.array:
    """Transposed convolution.

    Args:
        x: (B, T, C_in).
        weight: (C_out, K, C_in).

    Returns:
        (B, (T - 1) * stride - 2 * padding + K, C_out)
    """
    if device.on_cpu() and device.is_half(x, weight):
        full = x.astype(mx.float32), weight.astype(mx.float32)
        return conv_transpose1d(*full, stride, padding).astype(x.dtype)
    batch, length, channels = x.shape
    out_channels, kernel, _ = weight.shape
    phases = math.ceil(kernel / stride)
    if phases * stride != kernel:
        weight = mx.pad(weight, [(0, 0), (0, phases * stride - kernel), (0, 0)])
    flat = weight.transpose(1, 0, 2).reshape(phases * stride * out_channels, channels)
    blocks = (x @ flat.T).reshape(batch, length, phases, stride * out_channels)
    # Input frame m adds its block j to output block m + j.
    out = mx.pad(blocks[:, :, 0], [(0, 0), (0, phases - 1), (0, 0)])
    for j in range(1, phases):
        out = out + mx.pad(blocks[:, :, j], [(0, 0), (j, phases - 1 - j), (0, 0)])
    out = out.reshape(batch, (length + phases - 1) * stride, out_channels)
    return out[:, padding : (length - 1) * stride + kernel - padding]


class Conv1d(nn.Module):
    """Convolution with zeros around its input; `padding` is an int or (before, after)."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int | tuple[int, int] = 0,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
        unfold: bool = False,
    ):
        super().__init__()
        scale = math.sqrt(1 / (in_channels // groups * kernel_size))
        shape = (out_channels, kernel_size, in_channels // groups)
        self.weight = mx.random.uniform(-scale, scale, shape)
        if bias:
            self.bias = mx.zeros((out_channels,))
        self._stride = stride
        self._padding = (padding, padding) if isinstance(padding, int) else padding
        self._dilation = dilation
        self._groups = groups
        self._unfold = unfold

    def __call__(self, x: mx.array) -> mx.array:
        return conv1d(
            x,
            self.weight,
            self._stride,
            self._padding,
            self._dilation,
            self._groups,
            self.bias if "bias" in self else None,
            self._unfold,
            evaluate=not self.training,
        )


class CausalConv1d(Conv1d):
    """Convolution that sees the past alone: K - 1 zeros before, none after."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int):
        super().__init__(in_channels, out_channels, kernel_size, padding=(kernel_size - 1, 0))


class ConvTranspose1d(nn.Module):
    """Transposed convolution; weight (C_out, K, C_in)."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int, padding: int = 0
    ):
        super().__init__()
        scale = math.sqrt(1 / (in_channels * kernel_size))
        self.weight = mx.random.uniform(-scale, scale, (out_channels, kernel_size, in_channels))
        self.bias = mx.zeros((out_channels,))
        self._stride = stride
        self._padding = padding

    def __call__(self, x: mx.array) -> mx.array:
        return conv_transpose1d(x, self.weight, self._stride, self._padding) + self.bias
