"""Normalisation: fused kernels for few rows on the CPU, else MLX's own.

On the CPU `mx.fast` composes a norm of a dozen operations. In decoding, where scheduling an
operation takes longer than computing it, they would be a third of all operations.
"""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn

from .activations import scaled_relu
from .cpu_kernels import kernel, tuned_for

_FEW_ROWS = 16

# Layouts: several rows, and one, which MLX takes for a vector.
_ROWS = ((64, 48), (64, 1), (48,))
_ROW = ((1, 48), (1, 1), (48,))


@kernel((*_ROWS, (), ()), (*_ROW, (), ()))
def _rms_kernel(
    x: mx.array, squares: mx.array, weight: mx.array, share: mx.array, eps: mx.array
) -> mx.array:
    return x * mx.rsqrt(squares * share + eps) * weight


@kernel(((64, 48), (64, 1), ()), ((1, 48), (1, 1), ()))
def _centred_kernel(x: mx.array, total: mx.array, share: mx.array) -> mx.array:
    return x - total * share


@kernel((*_ROWS, (48,), (), ()), (*_ROW, (48,), (), ()))
def _layer_kernel(
    centred: mx.array,
    squares: mx.array,
    weight: mx.array,
    bias: mx.array,
    share: mx.array,
    eps: mx.array,
) -> mx.array:
    return centred * mx.rsqrt(squares * share + eps) * weight + bias


def _is_short(x: mx.array) -> bool:
    return x.size <= _FEW_ROWS * x.shape[-1] and tuned_for(x)


class RMSNorm(nn.RMSNorm):
    """Root mean square norm (https://arxiv.org/abs/1910.07467)."""

    def __call__(self, x: mx.array) -> mx.array:
        """(rows, C) to the same."""
        if not _is_short(x):
            return super().__call__(x)
        squares = mx.square(x).sum(axis=-1, keepdims=True)
        return _rms_kernel(x, squares, self.weight, mx.array(1 / x.shape[-1]), mx.array(self.eps))


class LayerNorm(nn.LayerNorm):
    """Layer norm (https://arxiv.org/abs/1607.06450) with weight and bias."""

    def __call__(self, x: mx.array) -> mx.array:
        """(rows, C) to the same."""
        if not _is_short(x):
            return super().__call__(x)
        share = mx.array(1 / x.shape[-1])
        centred = _centred_kernel(x, x.sum(axis=-1, keepdims=True), share)
        squares = mx.square(centred).sum(axis=-1, keepdims=True)
        return _layer_kernel(centred, squares, self.weight, self.bias, share, mx.array(self.eps))


def batch_norm_relu(norm: nn.BatchNorm, x: mx.array, residual: mx.array | None = None) -> mx.array:
    """relu(norm(x) + residual), x (..., C).

    Outside training mean and deviation are constants, which together with the learned scale make
    one factor and one summand for each channel.
    """
    if norm.training:
        out = norm(x)
        return nn.relu(out if residual is None else out + residual)
    scale = mx.rsqrt(norm.running_var + norm.eps)
    if "weight" in norm:
        scale = scale * norm.weight
    shift = -norm.running_mean * scale
    if "bias" in norm:
        shift = shift + norm.bias
    return scaled_relu(x, scale, shift, residual)
