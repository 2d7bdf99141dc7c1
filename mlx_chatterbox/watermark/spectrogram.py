"""The spectrogram that PerTh works on: 32 kHz, 100 frames a second, levels from 0 to 1.

A level is decibels above -180, divided by 195. Source: `config.py`, `audio_processor.py` and
`utils.py` of resemble-perth 1.0.1.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import mlx.core as mx
import numpy as np

from ..audio.stft import frame, hann_window

SAMPLE_RATE = 32000
N_FFT = 2048
HOP = 320
BINS = N_FFT // 2 + 1
#: Bins that carry the mark: up to 2 kHz.
BAND = round(BINS * 2000 / (SAMPLE_RATE / 2))
MIN_MAGNITUDE = 1e-9
FLOOR_DB = -180.0
RANGE_DB = 195.0
#: Frames below this share of the loudest frame's sum of levels are silence: no mark there.
SILENCE = 0.05
# A frame takes 8 kB as samples and as much as a spectrum; at this many, tens of MB together.
FRAMES_AT_ONCE = 512


def spectra(padded: np.ndarray) -> mx.array:
    """Transform (n,) samples to (frames, BINS) complex; only frames that fit entirely."""
    return mx.fft.rfft(frame(mx.array(padded), N_FFT, HOP) * hann_window(N_FFT), axis=-1)


def scaled(spectrum: mx.array, factors: mx.array) -> mx.array:
    """Multiply (frames, BINS) complex by real factors."""
    # A plain product would make the factors complex, and be much slower.
    parts = spectrum.view(mx.float32).reshape(*spectrum.shape, 2) * factors[..., None]
    return parts.view(mx.complex64)[..., 0]


def magnitudes(spectrum: mx.array) -> mx.array:
    """The absolute values of a spectrum, at least `MIN_MAGNITUDE`."""
    return mx.maximum(mx.abs(spectrum), MIN_MAGNITUDE)


def levels(magnitude: mx.array) -> mx.array:
    """Convert magnitudes, at least `MIN_MAGNITUDE`, to levels."""
    # By the natural logarithm, which MLX vectorises on the CPU.
    decibels = (20 / math.log(10)) * mx.log(magnitude)
    return (decibels - FLOOR_DB) * (1 / RANGE_DB)


def factor(change: mx.array) -> mx.array:
    """The factor of magnitudes that raises levels by `change`."""
    return mx.exp(change * (RANGE_DB / 20 * math.log(10)))


def mirrored(signal: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Samples of a signal extended by its mirror image, at any positions."""
    period = max(2 * (len(signal) - 1), 1)
    positions = np.abs(positions) % period
    return signal[np.minimum(positions, period - positions)]


class Framer:
    """Gathers samples until whole frames of a centred transform can be cut from them.

    Attributes:
        frames: the number of frames so far; all of them after `finish`.
        samples: the number of samples taken.
    """

    def __init__(self):
        self.frames = self.samples = 0
        self._first = 0  # the frame that begins with the first sample kept
        self._kept = np.empty(0, np.float32)
        self._begun = False

    def push(self, samples: np.ndarray) -> None:
        """Take (n,) float32 samples that follow those before."""
        self.samples += len(samples)
        self._kept = np.concatenate([self._kept, samples])
        if not self._begun and len(self._kept) > N_FFT // 2:
            self._begin()
        self._count()

    def finish(self) -> None:
        """End the signal: the mirror image of its end completes the last frames."""
        if not self._begun:
            self._begin()
        kept = N_FFT // 2 + self.samples - self._first * HOP
        # Only the end of a long signal is kept, more than the mirror image needs.
        end = self._kept[max(0, kept - N_FFT) if self._first else N_FFT // 2 : kept]
        positions = len(end) + np.arange(N_FFT // 2)
        self._kept = np.concatenate([self._kept, mirrored(end, positions)])
        self._count()

    def between(self, first: int, last: int) -> np.ndarray:
        """The samples of frames first to last - 1; frames before `first` can be dropped."""
        start = (first - self._first) * HOP
        return self._kept[start : start + (last - first - 1) * HOP + N_FFT]

    def drop(self, before: int) -> None:
        """Drop the frames before this one."""
        self._kept = self._kept[(before - self._first) * HOP :].copy()
        self._first = before

    def _begin(self) -> None:
        start = mirrored(self._kept, np.arange(-N_FFT // 2, 0))
        self._kept = np.concatenate([start, self._kept])
        self._begun = True

    def _count(self) -> None:
        if self._begun and len(self._kept) >= N_FFT:
            self.frames = self._first + 1 + (len(self._kept) - N_FFT) // HOP


def framed(pieces: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield blocks of samples whose frames, in order, are those of the signal.

    Args:
        pieces: of the signal, (n,) float32 each, at 32 kHz.
    """
    framer, done = Framer(), 0

    def ready() -> Iterator[np.ndarray]:
        nonlocal done
        while done < framer.frames:
            last = min(framer.frames, done + FRAMES_AT_ONCE)
            yield framer.between(done, last)
            framer.drop(last)
            done = last

    for piece in pieces:
        framer.push(piece)
        yield from ready()
    framer.finish()
    yield from ready()


def loudest_frame(pieces: Iterable[np.ndarray]) -> float:
    """The largest sum of levels of any frame of a signal given in pieces."""
    sums = (
        float(levels(magnitudes(spectra(block))).sum(axis=-1).max()) for block in framed(pieces)
    )
    return max(sums, default=0.0)
