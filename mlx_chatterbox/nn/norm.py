"""Normalisation: MLX's own on the GPU; on the CPU C of ours, or fused kernels.

On the CPU `mx.fast` composes a norm of a dozen operations. Over many rows each is a pass over
memory, where one is enough (`native`). In decoding, where an operation takes longer to arrange than
to do, they would be a third of all, and a few fused kernels serve.
"""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn

from . import native
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


def _takes_one_pass(norm: nn.Module, x: mx.array) -> bool:
    """Whether `native` serves; it evaluates x there and then."""
    return not norm.training and x.size > 0 and native.takes(x, *norm.parameters().values())


def _in_one_pass(norm: nn.Module, x: mx.array, centred: bool) -> mx.array:
    names = [name for name in ("weight", "bias") if name in norm]
    width, eps = x.shape[-1], norm.eps

    @mx.custom_function
    def normalised(x: mx.array, *parameters: mx.array) -> mx.array:
        given = dict(zip(names, parameters, strict=True))
        sizes = (x.size // width, width, int(centred), float(eps))
        arrays = [x, given.get("weight"), given.get("bias")]
        return native.call("normalise", arrays, x.shape, *sizes)

    @normalised.vjp
    def _(primals, cotangent, _):
        def composed(x, *parameters):
            fast = mx.fast.layer_norm if centred else mx.fast.rms_norm
            given = dict(zip(names, parameters, strict=True))
            chosen = [given.get(name) for name in ("weight", "bias")[: 2 if centred else 1]]
            return [fast(x, *chosen, eps)]

        return mx.vjp(composed, primals, [cotangent])[1]

    return normalised(x, *(norm[name] for name in names))


class RMSNorm(nn.RMSNorm):
    """Root mean square norm (https://arxiv.org/abs/1910.07467)."""

    def __call__(self, x: mx.array) -> mx.array:
        """(..., C) to the same."""
        if _is_short(x):
            squares = mx.square(x).sum(axis=-1, keepdims=True)
            share, eps = mx.array(1 / x.shape[-1]), mx.array(self.eps)
            return _rms_kernel(x, squares, self.weight, share, eps)
        if _takes_one_pass(self, x):
            return _in_one_pass(self, x, centred=False)
        return super().__call__(x)


class LayerNorm(nn.LayerNorm):
    """Layer norm (https://arxiv.org/abs/1607.06450) with weight and bias."""

    def __call__(self, x: mx.array) -> mx.array:
        """(..., C) to the same."""
        if _is_short(x):
            share = mx.array(1 / x.shape[-1])
            centred = _centred_kernel(x, x.sum(axis=-1, keepdims=True), share)
            squares = mx.square(centred).sum(axis=-1, keepdims=True)
            eps = mx.array(self.eps)
            return _layer_kernel(centred, squares, self.weight, self.bias, share, eps)
        if _takes_one_pass(self, x):
            return _in_one_pass(self, x, centred=True)
        return super().__call__(x)


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
