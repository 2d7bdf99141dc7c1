"""Loudness after ITU-R BS.1770, to which upstream's Turbo normalises its references."""

from __future__ import annotations

import math

import numpy as np

# BS.1770 measures blocks of 0.4 s; a shorter recording is repeated to this many seconds.
_LEAST_SECONDS = 0.5


def normalise_loudness(waveform: np.ndarray, sample_rate: int, target_lufs: float) -> np.ndarray:
    """Scale a recording to an integrated loudness.

    waveform: (n,) float32. Returns (n,) float32; unchanged where no loudness can be measured
    (silence, or under 0.4 s), as upstream leaves it.
    Source: upstream `tts_turbo.py` (`norm_loudness`), by pyloudnorm.
    """
    # Imported here because it imports scipy.signal, and only one family of models needs it.
    import pyloudnorm

    try:
        loudness = pyloudnorm.Meter(sample_rate).integrated_loudness(waveform)
    except ValueError:
        return waveform
    gain = 10.0 ** ((target_lufs - loudness) / 20.0)
    if not math.isfinite(gain) or gain <= 0.0:
        return waveform
    return (waveform * gain).astype(np.float32)


def loudness_of(waveform: np.ndarray, sample_rate: int) -> float | None:
    """Integrated loudness after ITU-R BS.1770, LUFS; None for silence.

    waveform: (n,) float32, also shorter than the 0.4 s that the standard asks for.
    """
    # Imported here because it imports scipy.signal.
    import pyloudnorm

    if not len(waveform):
        return None
    least = math.ceil(_LEAST_SECONDS * sample_rate)
    if len(waveform) < least:
        waveform = np.tile(waveform, -(-least // len(waveform)))
    with np.errstate(divide="ignore"):
        loudness = pyloudnorm.Meter(sample_rate).integrated_loudness(np.asarray(waveform))
    return float(loudness) if math.isfinite(loudness) else None
