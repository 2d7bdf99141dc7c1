"""Change of tempo at the same pitch: WSOLA, waveform-similarity overlap-add.

After Verhelst and Roelands (1993). Frames of the signal are overlapped closer together or further
apart; each is taken from the place near its own that best continues the frame before it, so that
the periods of a voice stay whole. A stream gives the same samples as the whole.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from contextlib import closing

import numpy as np

from ..errors import SettingError

# Seconds. A frame (half of it overlaps) holds two periods of a low voice, the search range one.
_FRAME = 0.03
_SEARCH = 0.01
SLOWEST, FASTEST = 0.5, 2.0


def checked_speed(speed: float | str | None) -> float:
    """A speed that the caller gave; None is 1.

    Raises:
        SettingError: it is outside 0.5 to 2, or not a number.
    """
    try:
        value = 1.0 if speed is None else float(speed)
    except (TypeError, ValueError):
        value = math.nan
    if not SLOWEST <= value <= FASTEST:
        raise SettingError(f"speed must be from {SLOWEST} to {FASTEST:g}; got {speed}.")
    return value


def stretch(waveform: np.ndarray, sample_rate: int, speed: float) -> np.ndarray:
    """Change the tempo of speech.

    Args:
        waveform: (n,) float32.
        speed: above 1 is faster; 0.5 to 2.

    Returns:
        (round(n / speed),) float32; the waveform itself for a speed of 1.

    Raises:
        ValueError: a speed outside its range.
    """
    if not SLOWEST <= speed <= FASTEST:
        raise ValueError(f"a speed of {speed} is outside {SLOWEST} to {FASTEST:g}")
    stretcher = Stretcher(sample_rate, speed)
    return np.concatenate([stretcher.push(waveform), stretcher.finish()])


def stretch_stream(
    chunks: Generator[tuple[np.ndarray, bool], None, None], sample_rate: int, speed: float
) -> Generator[tuple[np.ndarray, bool], None, None]:
    """Stretch speech that comes in chunks.

    Args:
        chunks: (n,) float32, and True with the last one; closed with this generator.

    Yields:
        (m,) float32, possibly empty, and True with the last one; together the result of `stretch`
        for the whole. At most 0.1 s is held back.
    """
    stretcher = Stretcher(sample_rate, speed)
    with closing(chunks):
        for chunk, last in chunks:
            done = stretcher.push(chunk)
            yield (np.concatenate([done, stretcher.finish()]) if last else done), last


class Stretcher:
    """Stretches a stream. All pieces returned, in order, are the result of `stretch`.

    Args:
        sample_rate: in Hz.
        speed: 0.5 to 2; 1 returns the samples unchanged.
    """

    def __init__(self, sample_rate: int, speed: float):
        self._speed = speed
        self._hop = round(_FRAME * sample_rate / 2)
        self._frame = 2 * self._hop
        self._reach = round(_SEARCH * sample_rate)
        self._front = self._hop + self._reach
        self._window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(self._frame) / self._frame)
        # The signal after `front` zeros, from `_begin` on, and the sums of its squares before
        # each sample.
        self._begin = 0
        self._x = np.zeros(self._front)
        self._squares = np.zeros(self._front + 1)
        self._taken = self._returned = 0
        # Where the latest frame was taken from, where the next one goes, and the part of the
        # latest one that the next will overlap.
        self._at, self._place = self._front - self._hop, self._hop
        self._overlap: np.ndarray | None = None

    def push(self, samples: np.ndarray) -> np.ndarray:
        """Take (n,) samples; return those that are complete, (m,) float32."""
        samples = np.asarray(samples, dtype=np.float32)
        self._taken += len(samples)
        if self._speed == 1.0:
            self._returned += len(samples)
            return samples.copy()
        self._append(samples)
        return self._returning(self._frames(None))

    def finish(self) -> np.ndarray:
        """Return the rest, (m,) float32."""
        length = round(self._taken / self._speed)
        if self._speed == 1.0:
            return np.empty(0, np.float32)
        if length <= self._hop:
            # Shorter than a frame: there is nothing to overlap.
            rest = self._x[self._front - self._begin :][:length].astype(np.float32)
            return np.pad(rest, (0, length - len(rest)))
        self._append(np.zeros(2 * self._frame + self._reach + round(self._hop * self._speed)))
        left = length - self._returned
        return self._returning(self._frames(length)[:left])

    def _append(self, samples: np.ndarray) -> None:
        """Append samples and the running sums of their squares, added in the order of the whole."""
        samples = samples.astype(np.float64)
        sums = np.cumsum(np.concatenate([self._squares[-1:], np.square(samples)]))
        self._x = np.concatenate([self._x, samples])
        self._squares = np.concatenate([self._squares, sums[1:]])

    def _frames(self, length: int | None) -> np.ndarray:
        """Overlap the frames that the signal so far suffices for; return the complete samples.

        Args:
            length: of the whole result, where it is known.
        """
        hop, frame, reach = self._hop, self._frame, self._reach
        complete = []
        while length is None or self._place < length + hop:
            wanted = self._front + round((self._place - hop) * self._speed)
            last = max(wanted + reach, self._at + hop) + frame
            if last > self._begin + len(self._x):
                break
            if self._overlap is None:
                first = self._at - self._begin
                self._overlap = (self._x[first : first + frame] * self._window)[hop:]
            self._at = self._best(wanted)
            first = self._at - self._begin
            laid = self._x[first : first + frame] * self._window
            complete.append(self._overlap + laid[:hop])
            self._overlap = laid[hop:]
            self._place += hop
        self._forget()
        return np.concatenate(complete) if complete else np.empty(0)

    def _best(self, wanted: int) -> int:
        """The place near `wanted` from which the signal best continues the frame before."""
        frame, reach, begin = self._frame, self._reach, self._begin
        after = self._at + self._hop - begin
        following = self._x[after : after + frame]
        first = wanted - reach - begin
        near = self._x[first : first + 2 * reach + frame]
        energy = self._squares[first + frame : first + frame + 2 * reach + 1]
        energy = energy - self._squares[first : first + 2 * reach + 1]
        alike = np.correlate(near, following, mode="valid") / np.sqrt(np.maximum(energy, 1e-9))
        # In silence all places are alike: take the frame's own.
        best = int(alike.argmax()) if alike.max() > 1e-6 else reach
        return first + begin + best

    def _forget(self) -> None:
        """Drop the samples that no later frame needs."""
        wanted = self._front + round((self._place - self._hop) * self._speed)
        first = min(wanted - self._reach, self._at + (0 if self._overlap is None else self._hop))
        drop = max(0, first - self._begin)
        self._x, self._squares = self._x[drop:], self._squares[drop:]
        self._begin += drop

    def _returning(self, samples: np.ndarray) -> np.ndarray:
        self._returned += len(samples)
        return samples.astype(np.float32)
