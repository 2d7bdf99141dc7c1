"""Sampling of ChatTTS: the distribution that a text token, or one code a codebook, is drawn from.

Order: temperature, repetition penalty, top-p, top-k, and at last the ban of the stop token. A token
that was drawn twice of late is penalised twice. The steps themselves are the ones of all families
(`models/decoder/sampling.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import mlx.core as mx
import numpy as np

from ...checks.plain import shown
from ...errors import SettingError
from ..decoder.sampling import Array, keep_top_k, keep_top_p, penalise_recent

# Draws of a row that the repetition penalty looks back on.
RECENT = 16
# Neither top-p nor top-k leaves fewer.
MIN_CANDIDATES = 3
# Beyond them float32 cannot represent the logits' differences.
_LEAST, _MOST = 1e-6, 1e9


@dataclass(frozen=True)
class ChatTTSSampling:
    """Settings of a request; the defaults are those of speech.

    Attributes:
        temperature: one for all, or one for each codebook; 0 takes the likeliest token always.
        top_p, top_k: None keeps all tokens. Three tokens stay in any case.
        repetition_penalty: for each time that a token is among the row's last 16 draws.
        min_new_tokens: draws before the stop token may be drawn.

    Raises:
        SettingError: a value outside its range.
    """

    temperature: float | tuple[float, ...] = 0.3
    top_p: float | None = 0.7
    top_k: int | None = 20
    repetition_penalty: float = 1.05
    min_new_tokens: int = 0

    def __post_init__(self):
        if not isinstance(self.temperature, Real):
            # A list could not be compared, nor be a key.
            object.__setattr__(self, "temperature", _numbers(self.temperature))
        for value in self.temperatures:
            if value != 0:
                _check("temperature", value, Real, _LEAST, _MOST, "0 (greedy) or ")
        _check("repetition_penalty", self.repetition_penalty, Real, _LEAST, _MOST)
        if self.top_p is not None:
            _check("top_p", self.top_p, Real, 0, 1, "None (all) or ")
        if self.top_k is not None:
            _check("top_k", self.top_k, Integral, 1, 2**31 - 1, "None (all) or ")
        _check("min_new_tokens", self.min_new_tokens, Integral, 0, 2**31 - 1)

    @property
    def temperatures(self) -> tuple[float, ...]:
        """One temperature, or one for each codebook."""
        one = self.temperature
        return one if isinstance(one, tuple) else (one,)


def _numbers(values: Any) -> tuple:
    try:
        numbers = tuple(values.tolist() if isinstance(values, np.ndarray) else values)
    except TypeError:
        numbers = ()
    if not numbers or isinstance(values, str):
        raise SettingError(
            f"temperature must be a number, or one for each codebook; got {shown(values)}."
        )
    return numbers


def _check(name: str, value: Any, kind: type, low: float, high: float, or_else: str = "") -> None:
    is_number = isinstance(value, kind) and not isinstance(value, bool)
    # A comparison with NaN is false.
    if not is_number or not low <= value <= high:
        whole = "a whole number " if kind is Integral else ""
        raise SettingError(
            f"{name} must be {or_else}{whole}from {low:g} to {high:g}; got {shown(value)}."
        )


def process_logits(
    logits: Array, recent: Array, settings: ChatTTSSampling, stop: int, step: int
) -> Array:
    """Logits whose softmax is the distribution that the next tokens are drawn from.

    Args:
        logits: (R, V), of text tokens a row for each request; of codes a row for each codebook,
            those of a request together. Of NumPy float32.
        recent: (R, n) the row's last draws, of which the last 16 count; never the prompt's. -1
            stands for none, and `stop` does not count. As `logits` MLX's or NumPy's.
        stop: the token that ends a row.
        step: number of draws before this one.

    Returns:
        (R, V) float32, -inf where a token is removed.

    Raises:
        SettingError: there are more or fewer temperatures than codebooks.
    """
    if isinstance(logits, mx.array):
        logits = logits.astype(mx.float32)
    where = np.where if isinstance(logits, np.ndarray) else mx.where
    scale = _row_temperatures(settings, logits.shape[0])
    logits = logits / _alike(np.where(scale == 0, np.float32(1), scale), logits)
    recent = recent[:, -RECENT:]
    recent = where(recent == stop, -1, recent)
    logits = penalise_recent(logits, recent, settings.repetition_penalty)
    if settings.top_p is not None:
        logits = keep_top_p(logits, settings.top_p, MIN_CANDIDATES)
    if settings.top_k is not None:
        logits = keep_top_k(logits, max(settings.top_k, MIN_CANDIDATES))
    if step < settings.min_new_tokens:
        is_stop = _alike(np.arange(logits.shape[1]) == stop, logits)
        logits = where(is_stop, -np.inf, logits)
    return logits


def _row_temperatures(settings: ChatTTSSampling, rows: int) -> np.ndarray:
    """The temperature of each row, (R, 1) float32."""
    values = settings.temperatures
    if rows % len(values):
        raise SettingError(f"{len(values)} temperatures for {rows} row(s) of codes or text.")
    return np.tile(np.array(values, np.float32), rows // len(values))[:, None]


def _alike(values: np.ndarray, array: Array) -> Array:
    """Convert to the library of `array`."""
    return values if isinstance(array, np.ndarray) else mx.array(values)
