"""One loudness throughout: each piece is brought toward the median loudness of all."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..audio.loudness import loudness_of

__all__ = ["common_level", "gain_to", "levelled", "loudness_of"]

# The largest gain or attenuation of a piece, dB: a whisper stays softer than the rest.
MOST_DB = 6.0
# Amplification raises no sample above this.
_PEAK = 0.98


def common_level(loudnesses: Iterable[float | None]) -> float | None:
    """The median loudness of pieces, LUFS; None (silent) ones do not count, None if all are."""
    audible = [loudness for loudness in loudnesses if loudness is not None]
    return float(np.median(audible)) if audible else None


def gain_to(loudness: float | None, level: float | None, most_db: float = MOST_DB) -> float:
    """The factor that brings a piece to a level (both LUFS), by at most `most_db` decibels."""
    if loudness is None or level is None:
        return 1.0
    return 10.0 ** (min(most_db, max(-most_db, level - loudness)) / 20.0)


def levelled(
    waveform: np.ndarray,
    loudness: float | None,
    level: float | None,
    most_db: float = MOST_DB,
) -> np.ndarray:
    """Bring a piece to the common level.

    Args:
        waveform: (n,) float32.
        loudness: its loudness, LUFS, from `loudness_of`.
        level: the common level, LUFS, from `common_level`.

    Returns:
        (n,) float32; the gain is reduced where samples would exceed full scale.
    """
    gain = gain_to(loudness, level, most_db)
    peak = float(np.abs(waveform).max(initial=0.0))
    if gain > 1.0 and peak * gain > _PEAK:
        gain = max(1.0, _PEAK / peak)
    return waveform if gain == 1.0 else (waveform * gain).astype(np.float32)
