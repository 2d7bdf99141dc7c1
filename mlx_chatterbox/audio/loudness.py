"""Loudness after ITU-R BS.1770, as upstream's Turbo brings its references to it."""

from __future__ import annotations

import math

import numpy as np


def normalise_loudness(waveform: np.ndarray, sample_rate: int, target_lufs: float) -> np.ndarray:
    """Scale a recording to an integrated loudness.

    waveform: (n,) float32. Returns (n,) float32; unchanged where no loudness can be measured
    (silence, or under 0.4 s), as upstream leaves it.
    Source: upstream `tts_turbo.py` (`norm_loudness`), by pyloudnorm.
    """
    # Imported here because it brings in scipy.signal, and one family of models needs it.
    import pyloudnorm

    try:
        loudness = pyloudnorm.Meter(sample_rate).integrated_loudness(waveform)
    except ValueError:
        return waveform
    gain = 10.0 ** ((target_lufs - loudness) / 20.0)
    if not math.isfinite(gain) or gain <= 0.0:
        return waveform
    return (waveform * gain).astype(np.float32)
