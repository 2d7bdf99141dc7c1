"""Sampling: draw the next speech token from the logits.

Order as upstream's: for the Llama models repetition penalty, temperature, min-p, top-p; for Turbo
and Nano temperature, top-k, top-p, and the repetition penalty last. The order matters: min-p and
top-p look at the distribution that temperature has already reshaped. Sources: upstream
`models/t3/t3.py` (`inference`, `inference_turbo`), the processors of Hugging Face transformers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real
from typing import TypeVar

import mlx.core as mx
import numpy as np

from ...errors import SettingError

# MLX's where MLX computes a step, NumPy's where it is made in C; the same functions serve both.
Array = TypeVar("Array", mx.array, np.ndarray)

# Beyond them float32 cannot represent the logits' differences.
_LEAST, _MOST = 1e-6, 1e9
ORDERS = ("penalty_first", "penalty_last")


@dataclass(frozen=True)
class SamplingSettings:
    """Upstream's defaults for English.

    Attributes:
        temperature: 0 takes the likeliest token always.
        top_k: 0 keeps all tokens.
        order: "penalty_first" or "penalty_last"; the latter knows no min-p.

    Raises:
        SettingError: a value outside its range.
    """

    temperature: float = 0.8
    repetition_penalty: float = 1.2
    min_p: float = 0.05
    top_p: float = 1.0
    top_k: int = 0
    order: str = "penalty_first"

    def __post_init__(self):
        for name in ("temperature", "repetition_penalty", "min_p", "top_p", "top_k"):
            if not isinstance(getattr(self, name), Real):
                raise SettingError(f"{name} must be a number; got {getattr(self, name)!r}.")
        _check(
            "temperature",
            self.temperature,
            self.temperature == 0 or _LEAST <= self.temperature <= _MOST,
            f"0 (greedy) or from {_LEAST:g} to {_MOST:g}",
        )
        _check(
            "repetition_penalty",
            self.repetition_penalty,
            _LEAST <= self.repetition_penalty <= _MOST,
            f"from {_LEAST:g} to {_MOST:g}",
        )
        _check("min_p", self.min_p, 0 <= self.min_p <= 1, "from 0 to 1")
        _check("top_p", self.top_p, 0 < self.top_p <= 1, "above 0 and at most 1")
        _check("top_k", self.top_k, 0 <= self.top_k < 2**31, "0 (all) or more")
        if self.order not in ORDERS:
            raise SettingError(f"the sampler's order must be one of {ORDERS}; got {self.order!r}.")


def _check(name: str, value: float, holds: bool, allowed: str) -> None:
    if not (holds and math.isfinite(value)):
        raise SettingError(f"{name} must be {allowed}; got {value}.")


def _library_of(array: Array):
    return np if isinstance(array, np.ndarray) else mx


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


def keep_top_p(logits: Array, top_p: float) -> Array:
    """Keep the smallest set of likeliest tokens that holds `top_p` of the probability."""
    if top_p == 1.0:
        return logits
    if isinstance(logits, np.ndarray):
        return np.array(keep_top_p(mx.array(logits), top_p))
    order = mx.argsort(logits, axis=-1)
    ascending = mx.take_along_axis(logits, order, axis=-1)
    cumulative = mx.cumsum(mx.exp(ascending - ascending[..., -1:]), axis=-1)
    # Divided by the actual sum, so that rounding cannot move the threshold.
    cumulative = cumulative / cumulative[..., -1:]
    last = mx.arange(logits.shape[-1]) == logits.shape[-1] - 1
    kept = mx.where((cumulative > 1.0 - top_p) | last, ascending, -mx.inf)
    return mx.put_along_axis(logits, order, kept, axis=-1)


def process_logits(logits: Array, seen: Array, settings: SamplingSettings) -> Array:
    """Logits whose softmax is the distribution that the next token is drawn from.

    Args:
        logits: (B, V), after classifier-free guidance; of NumPy float32.
        seen: (B, V) bool, as `logits` MLX's or NumPy's.

    Returns:
        (B, V) float32, -inf where a token is removed.
    """
    if isinstance(logits, mx.array):
        logits = logits.astype(mx.float32)
    penalty_first = settings.order == "penalty_first"
    if penalty_first:
        logits = penalise_repetition(logits, seen, settings.repetition_penalty)
    if settings.temperature not in (0.0, 1.0):
        logits = logits / settings.temperature
    if penalty_first:
        logits = keep_min_p(logits, settings.min_p)
    logits = keep_top_k(logits, settings.top_k)
    logits = keep_top_p(logits, settings.top_p)
    if not penalty_first:
        logits = penalise_repetition(logits, seen, settings.repetition_penalty)
    return logits


def draw(logits: mx.array, settings: SamplingSettings, keys: mx.array) -> mx.array:
    """Draw a token a row; at temperature 0 the likeliest.

    Args:
        logits: (B, V), processed.
        keys: (B, 2), a random key for each row, whose draw does not depend on the others.

    Returns:
        (B,)
    """
    if settings.temperature == 0.0:
        return logits.argmax(axis=-1)
    # The likeliest after Gumbel noise is a draw; so `mx.random.categorical` does it too.
    return (logits + gumbel_noise(keys, logits.shape[1])).argmax(axis=-1)


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
