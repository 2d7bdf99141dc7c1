"""Steps from logits to the distribution that a token is drawn from, shared by the families.

Each family has its own settings, and its own order of these steps: `t3/sampling.py` and
`chattts/sampling.py`. All work on MLX's arrays and on NumPy's.
"""

from __future__ import annotations

import math
from typing import TypeVar

import mlx.core as mx
import numpy as np

# MLX's where MLX computes a step, NumPy's where it is made in C; the same functions serve both.
Array = TypeVar("Array", mx.array, np.ndarray)


def _library_of(array: Array):
    return np if isinstance(array, np.ndarray) else mx


def penalise(logits: Array, factors: Array) -> Array:
    """Divide the positive logits by their factors and multiply the negative ones.

    Args:
        logits: (B, V).
        factors: (B, V), 1 for a logit that stays as it is.
    """
    return _library_of(logits).where(logits < 0, logits * factors, logits / factors)


def penalise_repetition(logits: Array, seen: Array, penalty: float) -> Array:
    """Divide the positive logits of seen tokens by `penalty` and multiply the negative ones.

    Args:
        logits: (B, V).
        seen: (B, V), true for every token drawn before, the start token included.
    """
    if penalty == 1.0:
        return logits
    where = _library_of(logits).where
    return where(seen, where(logits < 0, logits * penalty, logits / penalty), logits)


def penalise_recent(logits: Array, recent: Array, penalty: float) -> Array:
    """Penalise each token once for every time that it is among the recent ones.

    Args:
        logits: (B, V).
        recent: (B, n) ids; those outside 0 to V - 1 stand for none.
    """
    if penalty == 1.0 or recent.shape[-1] == 0:
        return logits
    library = _library_of(logits)
    vocabulary = library.arange(logits.shape[-1])
    # One id at a time: all together would take n times the logits' memory.
    times = sum(recent[:, i : i + 1] == vocabulary for i in range(recent.shape[-1]))
    return penalise(logits, penalty ** times.astype(library.float32))


def keep_min_p(logits: Array, min_p: float) -> Array:
    """Remove tokens less likely than `min_p` times the likeliest (https://arxiv.org/abs/2407.01082)."""
    if min_p == 0.0:
        return logits
    # p_i < min_p * p_max, in logits; the likeliest token always stays.
    lowest = logits.max(axis=-1, keepdims=True) + math.log(min_p)
    return _library_of(logits).where(logits < lowest, -math.inf, logits)


def keep_top_k(logits: Array, top_k: int) -> Array:
    """Keep the `top_k` likeliest tokens, and all that are as likely as the last of them."""
    if top_k == 0 or top_k >= logits.shape[-1]:
        return logits
    if isinstance(logits, np.ndarray):
        return np.array(keep_top_k(mx.array(logits), top_k))
    lowest = mx.min(mx.topk(logits, top_k, axis=-1), axis=-1, keepdims=True)
    return mx.where(logits < lowest, -mx.inf, logits)


def keep_top_p(logits: Array, top_p: float, at_least: int = 1) -> Array:
    """Keep the smallest set of likeliest tokens that holds `top_p` of the probability.

    Args:
        at_least: number of likeliest tokens that stay in any case.
    """
    if top_p == 1.0:
        return logits
    if isinstance(logits, np.ndarray):
        return np.array(keep_top_p(mx.array(logits), top_p, at_least))
    order = mx.argsort(logits, axis=-1)
    ascending = mx.take_along_axis(logits, order, axis=-1)
    cumulative = mx.cumsum(mx.exp(ascending - ascending[..., -1:]), axis=-1)
    # Divided by the actual sum, so that rounding cannot move the threshold.
    cumulative = cumulative / cumulative[..., -1:]
    last = mx.arange(logits.shape[-1]) >= logits.shape[-1] - at_least
    kept = mx.where((cumulative > 1.0 - top_p) | last, ascending, -mx.inf)
    return mx.put_along_axis(logits, order, kept, axis=-1)


def gumbel_noise(keys: mx.array, tokens: int) -> mx.array:
    """Gumbel noise, which is added to the logits of a draw.

    Args:
        keys: (..., 2), a random key for each draw.

    Returns:
        (..., tokens) float32
    """
    flat = keys.reshape(-1, keys.shape[-1])
    noise = mx.vmap(lambda key: mx.random.gumbel((tokens,), key=key))(flat)
    return noise.reshape(*keys.shape[:-1], tokens)
