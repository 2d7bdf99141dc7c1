"""Fitting of speech to the times of subtitles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..audio.silence import loud_part
from ..audio.stretch import stretch
from .level import levelled
from .plan import Piece

# The highest speed that is understood without effort; faster sounds hurried.
FASTEST = 1.3
# Seconds of silence that stay between two subtitles, however little time there is.
GAP = 0.08
# Seconds that the last subtitle may run over its end.
AT_THE_END = 3.0
# Silence that is left around speech, s, and its level below the loudest frame, dB.
_MARGIN, _SILENCE_DB = 0.03, 45.0


@dataclass(frozen=True)
class Fitted:
    """Speech for a slot.

    Attributes:
        waveform: (n,) float32, at least as long as the slot.
        speed: factor by which it was sped up; 1 for unchanged.
        overrun: seconds by which it is still too long, or 0.
    """

    waveform: np.ndarray
    speed: float
    overrun: float


def trimmed(waveform: np.ndarray, sample_rate: int, margin: float = _MARGIN) -> np.ndarray:
    """Trim the silence at both ends of speech to `margin` seconds; (n,) to (m,)."""
    start, end = loud_part(waveform, _SILENCE_DB)
    around = round(margin * sample_rate)
    return waveform[max(0, start - around) : end + around]


def fit(
    waveform: np.ndarray,
    sample_rate: int,
    seconds: float,
    spare: float = 0.0,
    fastest: float = FASTEST,
    late: float = 0.0,
) -> Fitted:
    """Fit speech to the length of a slot.

    Silence at both ends is trimmed. Speech that is too short is followed by silence; speech that is
    too long first uses the pause after the slot, then is sped up at the same pitch; if it is still
    too long it stays so, and `overrun` has the excess.

    Args:
        waveform: (n,) float32.
        seconds: of the slot.
        spare: seconds after the slot that may be used.
        fastest: the highest speed, 1 to 2.
        late: seconds by which it begins after its slot does, because the one before was too long;
            it should still end in time.
    """
    waveform = np.asarray(trimmed(waveform, sample_rate), dtype=np.float32)
    slot = max(0, round((seconds - late) * sample_rate))
    room = round((seconds + spare - late) * sample_rate)
    most = max(1, room)
    speed = 1.0
    if len(waveform) > most:
        speed = min(fastest, len(waveform) / most)
        waveform = stretch(waveform, sample_rate, speed)
    overrun = max(0, len(waveform) - room) / sample_rate
    waveform = np.pad(waveform, (0, max(0, slot - len(waveform))))
    return Fitted(waveform, speed, overrun)


def prepared(
    waveform: np.ndarray,
    sample_rate: int,
    loudness: float | None = None,
    level: float | None = None,
    slot: tuple[float, float] | None = None,
    late: float = 0.0,
) -> Fitted:
    """Prepare a spoken piece for the output: trim it, level it, and fit it to its slot.

    Args:
        waveform: (n,) float32.
        loudness: its loudness, LUFS, from `level.loudness_of`.
        level: the common level, LUFS, from `level.common_level`; None leaves it as it is.
        slot: seconds and spare, from `slots`; None for no slot.
        late: as in `fit`.
    """
    waveform = levelled(trimmed(waveform, sample_rate), loudness, level)
    if slot is None:
        return Fitted(waveform, 1.0, 0.0)
    return fit(waveform, sample_rate, *slot, late=late)


def slots(pieces: Sequence[Piece]) -> list[tuple[float, float]]:
    """Compute `seconds` and `spare` of `fit` for pieces with times, which are in order.

    A slot ends at the latest where the next piece begins.
    """
    times = [_times(piece) for piece in pieces]
    fitted = []
    for index, (start, end) in enumerate(times):
        if index + 1 == len(times):
            fitted.append((end - start, AT_THE_END))
            continue
        following, _ = times[index + 1]
        end = min(end, following)
        fitted.append((max(0.0, end - start), max(0.0, following - end - GAP)))
    return fitted


def _times(piece: Piece) -> tuple[float, float]:
    """The start and end of a piece that has times, s."""
    # Only pieces that have times have slots.
    assert piece.start is not None
    assert piece.end is not None
    return piece.start, piece.end
