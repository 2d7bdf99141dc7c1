"""Trimming leading and trailing silence, as `librosa.effects.trim` does."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

_FRAME = 2048
_HOP = 512
# librosa's floor: all levels below this power (amplitude 1e-5) count as equal to it.
_LEAST_POWER = 1e-10


def trim_silence(waveform: np.ndarray, top_db: float = 20.0) -> np.ndarray:
    """Cut away what lies before the first and after the last frame that is loud enough.

    waveform: (n,) at any rate. Returns a slice of it; see `loud_part`.
    """
    waveform = np.asarray(waveform)
    start, end = loud_part(waveform, top_db)
    return waveform[start:end]


def loud_part(waveform: np.ndarray, top_db: float = 20.0) -> tuple[int, int]:
    """The part that `trim_silence` keeps: its first sample, and the first after it.

    A frame counts as loud if its RMS is above the loudest frame's minus `top_db` decibels; frames
    are 2048 samples, centred every 512 on the signal extended by zeros. Uniform silence has no
    quieter part and stays whole.
    """
    n = len(waveform)
    if n == 0:
        return 0, 0
    frames = 1 + n // _HOP
    per_frame = _FRAME // _HOP
    padded = np.zeros((frames + per_frame - 1) * _HOP)
    inside = waveform[: len(padded) - _FRAME // 2]
    padded[_FRAME // 2 :][: len(inside)] = inside
    blocks = np.square(padded).reshape(-1, _HOP).sum(axis=1)
    power = np.convolve(blocks, np.ones(per_frame), mode="valid") / _FRAME
    decibel = 10 * np.log10(np.maximum(power, _LEAST_POWER))
    loud = np.flatnonzero(decibel - decibel.max() > -top_db)
    if len(loud) == 0:
        return 0, 0
    return int(loud[0]) * _HOP, min(n, (int(loud[-1]) + 1) * _HOP)


def silence_in_blocks(seconds: float, sr: int) -> Iterator[np.ndarray]:
    """Yield `silence` of any length in blocks of at most a minute."""
    left, most = round(seconds * sr), 60 * sr
    while left > 0:
        yield np.zeros(min(left, most), np.float32)
        left -= most


def silence(seconds: float, sr: int) -> np.ndarray:
    """Zeros for so many seconds at `sr` Hz, (n,) float32."""
    return np.zeros(round(seconds * sr), np.float32)
