"""One loudness throughout: each piece a little louder or softer, toward the middle of all."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..audio.loudness import loudness_of

__all__ = ["common_level", "gain_to", "levelled", "loudness_of"]

# Decibels that a piece is changed by at most: a whisper stays softer than the rest.
MOST_DB = 6.0
# No sample becomes larger.
_PEAK = 0.98


def common_level(loudnesses: Iterable[float | None]) -> float | None:
    """The level that all pieces are brought to: the median; None if all are silent."""
    heard = [loudness for loudness in loudnesses if loudness is not None]
    return float(np.median(heard)) if heard else None


def gain_to(loudness: float | None, level: float | None, most_db: float = MOST_DB) -> float:
    """The factor that brings a piece of a loudness to a level, by at most `most_db` decibels."""
    if loudness is None or level is None:
        return 1.0
    return 10.0 ** (min(most_db, max(-most_db, level - loudness)) / 20.0)


def levelled(
    waveform: np.ndarray,
    loudness: float | None,
    level: float | None,
    most_db: float = MOST_DB,
) -> np.ndarray:
    """A piece at the level of all.

    Args:
        waveform: (n,) float32.
        loudness: its own, of `loudness_of`.
        level: of all, of `common_level`.

    Returns:
        (n,) float32; what would be louder than full scale gets less gain.
    """
    gain = gain_to(loudness, level, most_db)
    peak = float(np.abs(waveform).max(initial=0.0))
    if gain > 1.0 and peak * gain > _PEAK:
        gain = max(1.0, _PEAK / peak)
    return waveform if gain == 1.0 else (waveform * gain).astype(np.float32)
