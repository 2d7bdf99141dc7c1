"""Speech faster or slower at the same pitch: WSOLA, waveform-similarity overlap-add.

After Verhelst and Roelands (1993). Frames of the signal are laid over each other closer together or
further apart; each is taken from where, near its place, it best goes on from the frame before it,
so that the periods of a voice stay whole.
"""

from __future__ import annotations

import numpy as np

# Seconds. A frame, of which half overlaps, holds two periods of a low voice; the search one.
_FRAME = 0.03
_SEARCH = 0.01
_LEAST, _MOST = 0.5, 2.0


def stretch(waveform: np.ndarray, sample_rate: int, speed: float) -> np.ndarray:
    """Change how long speech takes.

    Args:
        waveform: (n,) float32.
        speed: above 1 is faster; 0.5 to 2.

    Returns:
        (round(n / speed),) float32; the waveform itself for a speed of 1.

    Raises:
        ValueError: a speed outside its range.
    """
    if not _LEAST <= speed <= _MOST:
        raise ValueError(f"a speed of {speed} is outside {_LEAST} to {_MOST}")
    waveform = np.asarray(waveform, dtype=np.float32)
    length = round(len(waveform) / speed)
    hop = round(_FRAME * sample_rate / 2)
    if speed == 1.0 or length <= hop:
        return waveform[:length].copy()
    frame, reach = 2 * hop, round(_SEARCH * sample_rate)
    front, behind = hop + reach, 2 * frame + reach + round(hop * speed)
    x = np.pad(waveform, (front, behind)).astype(np.float64)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(frame) / frame)
    squares = np.concatenate([[0.0], np.cumsum(np.square(x))])
    out = np.zeros(length + 2 * frame)
    # The first frame begins before the signal, so that its beginning gets its full weight.
    at = front - hop
    out[:frame] = x[at : at + frame] * window
    for place in range(hop, length + hop, hop):
        wanted = front + round((place - hop) * speed)
        following = x[at + hop : at + hop + frame]
        near = x[wanted - reach : wanted + reach + frame]
        first = wanted - reach
        energy = squares[first + frame : first + frame + 2 * reach + 1]
        energy = energy - squares[first : first + 2 * reach + 1]
        alike = np.correlate(near, following, mode="valid") / np.sqrt(np.maximum(energy, 1e-9))
        # In silence all are alike: then the one in its place.
        best = int(alike.argmax()) if alike.max() > 1e-6 else reach
        at = first + best
        out[place : place + frame] += x[at : at + frame] * window
    return out[hop : hop + length].astype(np.float32)
