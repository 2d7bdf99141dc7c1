"""Scaled dot-product attention, fused on the GPU, head by head on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import mlx.core as mx

from ..runtime import device, native
from ..runtime.parallel import second_stream
from .activations import exp_of_negative, scaled_exp_of_negative
from .gradients import with_gradient_of

# Scores computed at a time, 1 MB, so that they stay in a core's cache.
_TILE_SCORES = 1 << 18
# From this many scores of a head on, each head has a product of its own: its scores stay in the
# cache from one step to the next, where those of all heads together would not.
_LARGE_SCORES = 256 * 256
# From this many rows on, as in decoding a batch, one core cannot read keys and values fast enough.
_MANY_ROWS = 8
# Below this many queries, as in decoding, summing costs less than appending ones to the values.
_FEW_QUERIES = 16


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
    if device.on_cpu() and device.is_half(queries, keys, values):
        full = mx.float32
        attended = attend(queries.astype(full), keys.astype(full), values.astype(full), scale, bias)
        return attended.astype(queries.dtype)
    if not device.on_cpu() or queries.dtype != mx.float32:
        return mx.fast.scaled_dot_product_attention(queries, keys, values, scale=scale, mask=bias)
    if scale != 1.0:
        queries = queries * scale
    if queries.shape[2] * keys.shape[2] < _LARGE_SCORES:
        if len(queries) >= _MANY_ROWS and queries.shape[2] < _FEW_QUERIES:
            return _attend_on_two_streams(queries, keys, values, bias)
        return _attend(queries, keys, values, bias)
    batch, heads = queries.shape[:2]
    if bias is not None:
        bias = mx.broadcast_to(bias, (batch, heads, *bias.shape[-2:]))
    rows = [
        mx.stack(
            [
                _attend(
                    queries[row, head],
                    keys[row, head],
                    values[row, head],
                    None if bias is None else bias[row, head],
                )
                for head in range(heads)
            ]
        )
        for row in range(batch)
    ]
    return mx.stack(rows)


def _attend_on_two_streams(
    queries: mx.array, keys: mx.array, values: mx.array, bias: mx.array | None
) -> mx.array:
    """Half of the rows each: MLX multiplies a batch's matrices one after the other."""
    middle = len(queries) // 2
    # The bias is common to all rows, or has one entry for each.
    biases = [bias, bias]
    if bias is not None and bias.ndim == 4 and len(bias) > 1:
        biases = [bias[:middle], bias[middle:]]
    with mx.stream(second_stream()):
        after = _attend(queries[middle:], keys[middle:], values[middle:], biases[1])
    before = _attend(queries[:middle], keys[:middle], values[:middle], biases[0])
    return mx.concatenate([before, after])


def _attend(queries: mx.array, keys: mx.array, values: mx.array, bias: mx.array | None) -> mx.array:
    """Attention over the last two axes; the queries are scaled already."""
    scores = queries @ keys.swapaxes(-1, -2)
    if bias is not None:
        scores = scores + bias
    weights = exp_of_negative(scores - scores.max(axis=-1, keepdims=True))
    if queries.shape[-2] < _FEW_QUERIES:
        return (weights @ values) / weights.sum(axis=-1, keepdims=True)
    # A column of ones makes the product sum the weights too, faster than a pass of its own.
    ones = mx.ones((*values.shape[:-1], 1), dtype=values.dtype)
    sums = weights @ mx.concatenate([values, ones], axis=-1)
    return sums[..., :-1] / sums[..., -1:]


def attends_by_columns(x: mx.array) -> bool:
    """Return True where `attend_columns` is faster for x, (B, T, C): long inputs on the CPU."""
    return device.on_cpu() and x.dtype == mx.float32 and x.shape[1] ** 2 >= _LARGE_SCORES


def attend_columns(
    queries: mx.array,
    keys: Sequence[mx.array],
    values: Sequence[mx.array],
    heads: int,
    scale: float,
) -> mx.array:
    """`attend` for one row of a batch on the CPU, with frames along the last axis.

    In this layout a head is contiguous in memory, the maxima and sums of the softmax run down
    columns, which suits vector units, and the products need no copies.

    Args:
        queries: (heads * D, T).
        keys, values: one or two pieces of what is attended to, one after the other, each
            (heads * D, S).

    Returns:
        (heads * D, T)
    """
    if native.library() is None:
        return _attend_columns(queries, *keys, *values, heads=heads, scale=scale)

    @with_gradient_of(partial(_attend_columns, heads=heads, scale=scale))
    def attended(queries: mx.array, *others: mx.array) -> mx.array:
        width, frames = queries.shape
        pieces = len(others) // 2
        arrays: list[mx.array | None] = [queries]
        for i in range(pieces):
            arrays += [others[i], others[pieces + i]]
        arrays += [None] * (5 - len(arrays))
        lengths = [others[i].shape[1] for i in range(pieces)]
        sizes = (heads, width // heads, frames, *lengths, *[0] * (2 - pieces))
        shapes: list[tuple[int, ...]] = [(width, frames)]
        shapes += [(width, n) for n in lengths for _ in range(2)]
        return native.call("attend_columns", arrays, shapes, queries.shape, *sizes, float(scale))

    return attended(queries, *keys, *values)


def _attend_columns(
    queries: mx.array, *keys_and_values: mx.array, heads: int, scale: float
) -> mx.array:
    pieces = len(keys_and_values) // 2
    keys, values = (
        one[0] if pieces == 1 else mx.concatenate(list(one), axis=1)
        for one in (keys_and_values[:pieces], keys_and_values[pieces:])
    )
    width, frames = queries.shape
    depth = width // heads
    # A row of ones makes the product sum the weights too.
    ones = mx.ones((1, values.shape[1]), dtype=values.dtype)
    at_once = -(-frames // -(-(frames * keys.shape[1]) // _TILE_SCORES))
    attended = []
    for first in range(0, width, depth):
        head = slice(first, first + depth)
        head_keys, head_values = keys[head].T, mx.concatenate([values[head], ones])
        tiles = []
        for start in range(0, frames, at_once):
            scores = head_keys @ queries[head, start : start + at_once]
            scores = scores - scores.max(axis=0, keepdims=True)
            tiles.append(head_values @ scaled_exp_of_negative(scores, scale))
            # Evaluated now, so that the next tile's scores reuse this memory, which is cached.
            mx.eval(tiles[-1])
        attended.append(mx.concatenate(tiles, axis=1))
    sums = mx.stack(attended)
    return (sums[:, :-1] / sums[:, -1:]).reshape(width, frames)


def split_heads(x: mx.array, heads: int) -> mx.array:
    """(B, T, heads * D) to (B, heads, T, D)."""
    batch, length, width = x.shape
    return x.reshape(batch, length, heads, width // heads).transpose(0, 2, 1, 3)


def merge_heads(x: mx.array) -> mx.array:
    """(B, heads, T, D) to (B, T, heads * D)."""
    batch, heads, length, depth = x.shape
    return x.transpose(0, 2, 1, 3).reshape(batch, length, heads * depth)


def mask_bias(dtype: mx.Dtype) -> float:
    """The number added to the scores of a masked key; float16 has none much larger."""
    return -6e4 if dtype == mx.float16 else -1e9


def padding_bias(mask: mx.array | None, dtype: mx.Dtype) -> mx.array | None:
    """Attention bias that hides padded keys.

    Args:
        mask: (B, T), 1 where there is a frame and 0 where there is padding, or None.

    Returns:
        (B, 1, 1, T), 0 or -1e9 (-6e4 in float16, which has no larger numbers), or None.
    """
    if mask is None:
        return None
    return ((1.0 - mask) * mask_bias(dtype)).astype(dtype)[:, None, None, :]
