"""Scaled dot-product attention, fused on the GPU, in three fast steps on the CPU."""

from __future__ import annotations

import mlx.core as mx

from .activations import softmax
from .device import on_cpu


def attend(
    queries: mx.array,
    keys: mx.array,
    values: mx.array,
    scale: float,
    bias: mx.array | None = None,
) -> mx.array:
    """softmax(scale * queries keys^T + bias) values.

    Args:
        queries, keys, values: (B, H, T, D).
        bias: added to the scores, broadcast to (B, H, T, T); None where nothing is masked.

    Returns:
        (B, H, T, D)
    """
    if not on_cpu():
        return mx.fast.scaled_dot_product_attention(queries, keys, values, scale=scale, mask=bias)
    scores = (queries * scale) @ keys.swapaxes(-1, -2)
    if bias is not None:
        scores = scores + bias
    return softmax(scores) @ values


def split_heads(x: mx.array, heads: int) -> mx.array:
    """(B, T, heads * D) to (B, heads, T, D)."""
    batch, length, width = x.shape
    return x.reshape(batch, length, heads, width // heads).transpose(0, 2, 1, 3)


def merge_heads(x: mx.array) -> mx.array:
    """(B, heads, T, D) to (B, T, heads * D)."""
    batch, heads, length, depth = x.shape
    return x.transpose(0, 2, 1, 3).reshape(batch, length, heads * depth)


def padding_bias(mask: mx.array | None, dtype: mx.Dtype) -> mx.array | None:
    """Attention bias that hides padded keys.

    Args:
        mask: (B, T), 1 where there is a frame and 0 where there is padding, or None.

    Returns:
        (B, 1, 1, T), 0 or -1e9 (-6e4 in float16, which has no larger numbers), or None.
    """
    if mask is None:
        return None
    hidden = -6e4 if dtype == mx.float16 else -1e9
    return ((1.0 - mask) * hidden).astype(dtype)[:, None, None, :]
