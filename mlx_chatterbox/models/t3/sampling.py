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

import mlx.core as mx

from ...errors import SettingError
from ..decoder.sampling import Array, keep_min_p, keep_top_k, keep_top_p, penalise_repetition

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
