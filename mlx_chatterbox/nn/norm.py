"""Batch norm as inference has it: one multiplication and one addition."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn

from .activations import scaled_relu


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
