"""How the next speech token is drawn from the logits.

Order as upstream's: for the Llama models repetition penalty, temperature, min-p, top-p; for Turbo
and Nano temperature, top-k, top-p, and the repetition penalty last. The order matters: min-p and
top-p look at the distribution that temperature has already reshaped. Sources: upstream
`models/t3/t3.py` (`inference`, `inference_turbo`), the processors of Hugging Face transformers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import mlx.core as mx

from ...errors import SettingError

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
        _check("temperature", self.temperature, self.temperature >= 0, "0 (greedy) or more")
        _check(
            "repetition_penalty", self.repetition_penalty, self.repetition_penalty > 0, "above 0"
        )
        _check("min_p", self.min_p, 0 <= self.min_p <= 1, "from 0 to 1")
        _check("top_p", self.top_p, 0 < self.top_p <= 1, "above 0 and at most 1")
        _check("top_k", self.top_k, self.top_k >= 0, "0 (all) or more")
        if self.order not in ORDERS:
            raise SettingError(f"the sampler's order must be one of {ORDERS}; got {self.order!r}.")


def _check(name: str, value: float, holds: bool, allowed: str) -> None:
    if not (math.isfinite(value) and holds):
        raise SettingError(f"{name} must be {allowed}; got {value}.")


def penalise_repetition(logits: mx.array, seen: mx.array, penalty: float) -> mx.array:
    """Divide the positive logits of seen tokens by `penalty` and multiply the negative ones.

    Args:
        logits: (B, V).
        seen: (B, V), true for every token drawn before, the start token included.
    """
    if penalty == 1.0:
        return logits
    return mx.where(seen, mx.where(logits < 0, logits * penalty, logits / penalty), logits)


def keep_min_p(logits: mx.array, min_p: float) -> mx.array:
    """Remove tokens less likely than `min_p` times the likeliest (https://arxiv.org/abs/2407.01082)."""
    if min_p == 0.0:
        return logits
    # p_i < min_p * p_max, said in logits; the likeliest token always stays.
    lowest = logits.max(axis=-1, keepdims=True) + math.log(min_p)
    return mx.where(logits < lowest, -mx.inf, logits)


def keep_top_k(logits: mx.array, top_k: int) -> mx.array:
    """Keep the `top_k` likeliest tokens, and whatever is as likely as the last of them."""
    if top_k == 0 or top_k >= logits.shape[-1]:
        return logits
    lowest = mx.min(mx.topk(logits, top_k, axis=-1), axis=-1, keepdims=True)
    return mx.where(logits < lowest, -mx.inf, logits)


def keep_top_p(logits: mx.array, top_p: float) -> mx.array:
    """Keep the smallest set of likeliest tokens that holds `top_p` of the probability."""
    if top_p == 1.0:
        return logits
    order = mx.argsort(logits, axis=-1)
    ascending = mx.take_along_axis(logits, order, axis=-1)
    cumulative = mx.cumsum(mx.exp(ascending - ascending[..., -1:]), axis=-1)
    # Divided by what the sum really came to, so that rounding cannot move the threshold.
    cumulative = cumulative / cumulative[..., -1:]
    last = mx.arange(logits.shape[-1]) == logits.shape[-1] - 1
    kept = mx.where((cumulative > 1.0 - top_p) | last, ascending, -mx.inf)
    return mx.put_along_axis(logits, order, kept, axis=-1)


def process_logits(logits: mx.array, seen: mx.array, settings: SamplingSettings) -> mx.array:
    """Logits whose softmax is the distribution that the next token is drawn from.

    Args:
        logits: (B, V), after classifier-free guidance.
        seen: (B, V) bool.

    Returns:
        (B, V) float32, -inf where a token is removed.
    """
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
        keys: (B, 2), a random key for each row: what it draws does not depend on the others.

    Returns:
        (B,)
    """
    if settings.temperature == 0.0:
        return mx.argmax(logits, axis=-1)
    # The likeliest after Gumbel noise is a draw; so `mx.random.categorical` does it too.
    noise = mx.vmap(lambda key: mx.random.gumbel(logits.shape[1:], key=key))(keys)
    return mx.argmax(logits + noise, axis=-1)
