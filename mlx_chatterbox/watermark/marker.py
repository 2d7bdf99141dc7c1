"""Application of the watermark: to a stream piece by piece, or to a waveform at once.

The mark of a frame depends on the 15 frames to each side, so a stream is delayed by 0.2 to 0.3 s.
Otherwise it is marked exactly as a waveform at once, but for one thing: frames that are almost
silent beside the loudest frame stay unmarked, and of a stream only the loudest so far is known.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from functools import lru_cache

import mlx.core as mx
import numpy as np

from ..audio.blocks import check_finite_samples
from ..audio.stft import hann_window, overlap_add
from ..errors import AudioError
from ..runtime.threads import compute_in_this_thread
from .network import CONTEXT, PerthNet, run_stack
from .spectrogram import (
    BAND,
    FRAMES_AT_ONCE,
    HOP,
    MIN_MAGNITUDE,
    N_FFT,
    SAMPLE_RATE,
    SILENCE,
    Framer,
    factor,
    levels,
    loudest_frame,
    scaled,
    spectra,
)
from .weights import load_networks

_QUALITY = "soxr_hq"  # librosa's default, and so upstream's
_SECONDS_AT_ONCE = 5
# The longest delay of a stream that is marked.
DELAY_SECONDS = 0.27


def apply(waveform: np.ndarray, sample_rate: int) -> np.ndarray:
    """Mark speech.

    Args:
        waveform: (samples,) or (samples, channels) float32; channels are marked one by one.
        sample_rate: in Hz.

    Returns:
        The same shape, float32. Digital silence has nothing to hide a mark in, and stays unmarked.
        Upstream cuts the end to whole frames of 10 ms; here every sample is kept.

    Raises:
        AudioError: no samples, another shape, or samples that are not finite.
        CheckpointError: the weights are not installed.
    """
    channels = as_channels(waveform, sample_rate)
    marked = [_apply(channel, sample_rate) for channel in channels]
    return marked[0] if np.ndim(waveform) == 1 else np.stack(marked, axis=1)


def _apply(channel: np.ndarray, sample_rate: int) -> np.ndarray:
    at_once = _SECONDS_AT_ONCE * sample_rate
    if len(channel) <= at_once:
        return Marker(sample_rate).finish(channel)
    pieces = [channel[start : start + at_once] for start in range(0, len(channel), at_once)]

    def resampled() -> Iterator[np.ndarray]:
        resampler = _Resampler(sample_rate, SAMPLE_RATE)
        for piece in pieces:
            yield resampler.push(piece)
        yield resampler.finish()

    marker = Marker(sample_rate, loudest_frame(resampled()))
    marked, done = np.empty_like(channel), 0
    for piece in pieces:
        part = marker.push(piece)
        marked[done : done + len(part)] = part
        done += len(part)
    marked[done:] = marker.finish()
    return marked


def mark_stream(
    chunks: Generator[tuple[np.ndarray, bool], None, None], sample_rate: int
) -> Generator[np.ndarray, None, None]:
    """Mark speech that comes in chunks.

    Args:
        chunks: (n,) float32, and True with the last one; closed with this generator.

    Yields:
        (n,) float32, n > 0, delayed by up to `DELAY_SECONDS`; a single chunk is marked as `apply`
        does.

    Raises:
        AudioError, CheckpointError: see `apply`.
    """
    marker, begun = Marker(sample_rate), False
    with closing(chunks):
        for chunk, last in chunks:
            if last and not begun:
                marked = apply(chunk, sample_rate)
            else:
                marked, begun = marker.push(chunk), begun or chunk.size > 0
                if last:
                    marked = np.concatenate([marked, marker.finish()])
            if marked.size:
                yield marked


def as_channels(waveform: np.ndarray, sample_rate: int) -> list[np.ndarray]:
    """Split a waveform into channels, (samples,) float32 each.

    Raises:
        AudioError: see `apply`.
    """
    waveform = np.asarray(waveform)
    if waveform.dtype.kind != "f":
        raise AudioError(f"the samples are {waveform.dtype}: give floats from -1 to 1.")
    if waveform.ndim not in (1, 2):
        raise AudioError(
            f"audio of shape {waveform.shape} is neither (samples,) nor (samples, channels)."
        )
    if waveform.ndim == 2 and waveform.shape[1] > waveform.shape[0]:
        raise AudioError(f"audio of shape {waveform.shape}: give (samples, channels).")
    if waveform.size == 0:
        raise AudioError("the audio has no samples.")
    if sample_rate != int(sample_rate) or sample_rate < 1:
        raise AudioError(f"the sample rate must be a whole number of hertz; got {sample_rate}.")
    check_finite_samples(waveform, "the audio")
    columns = waveform.reshape(len(waveform), -1).T
    return [np.ascontiguousarray(column, dtype=np.float32) for column in columns]


class _Resampler:
    """SoX's high-quality resampling of a stream; does nothing between equal rates."""

    def __init__(self, orig_sr: int, target_sr: int):
        self._stream = None
        if orig_sr != target_sr:
            import soxr

            self._stream = soxr.ResampleStream(orig_sr, target_sr, 1, "float32", _QUALITY)

    def push(self, samples: np.ndarray) -> np.ndarray:
        return samples if self._stream is None else self._stream.resample_chunk(samples)

    def finish(self) -> np.ndarray:
        rest = np.empty(0, np.float32)
        return rest if self._stream is None else self._stream.resample_chunk(rest, last=True)


class Marker:
    """Marks a stream. All pieces returned have together the length of all samples taken.

    Args:
        sample_rate: of the stream, in Hz.
        loudest: the largest sum of levels of any frame, if it is known (`loudest_frame`).

    Raises:
        CheckpointError: the weights are not installed.
    """

    def __init__(self, sample_rate: int, loudest: float = 0.0):
        self._networks = load_networks()
        self._in = _Resampler(sample_rate, SAMPLE_RATE)
        self._out = _Resampler(SAMPLE_RATE, sample_rate)
        self._framer = Framer()
        self._loudest = loudest
        self._marked = 0  # frames
        self._given = self._returned = 0  # samples, at the stream's rate
        # Sums of the frames marked so far where the next one overlaps them.
        self._overlap = np.zeros(N_FFT - HOP, np.float32)
        self._weight = np.zeros(N_FFT - HOP, np.float32)
        self._skip = N_FFT // 2

    def push(self, samples: np.ndarray) -> np.ndarray:
        """Take (n,) samples; return those that can be marked so far, (m,) float32.

        Raises:
            AudioError: another shape, or samples that are not finite.
        """
        self._take(samples)
        return self._returning(self._out.push(self._mark(self._framer.frames - CONTEXT)))

    def _take(self, samples_like: np.ndarray | Sequence[float]) -> None:
        compute_in_this_thread()
        samples = np.asarray(samples_like, dtype=np.float32)
        if samples.ndim != 1 or not np.isfinite(samples).all():
            raise AudioError("a stream to mark must be finite samples of shape (n,).")
        self._given += len(samples)
        self._framer.push(self._in.push(samples))

    def finish(self, samples: np.ndarray | Sequence[float] = ()) -> np.ndarray:
        """Take the last (n,) samples; return the rest, (m,) float32.

        Raises:
            AudioError: as `push`.
        """
        self._take(samples)
        if not self._given:
            return np.empty(0, np.float32)
        framer = self._framer
        framer.push(self._in.finish())
        framer.finish()
        last = self._mark(framer.frames)
        # The signal ends less than a hop after the last frame's hop.
        end = N_FFT // 2 + framer.samples - HOP * framer.frames
        skip, self._skip = self._skip, 0
        tail = (self._overlap[skip:end] / self._weight[skip:end]) if end > skip else last[:0]
        marked = np.concatenate([last, tail])
        rest = self._returning(np.concatenate([self._out.push(marked), self._out.finish()]))
        missing = self._given - self._returned
        return np.pad(rest, (0, missing)) if missing > 0 else rest

    def _returning(self, samples: np.ndarray) -> np.ndarray:
        samples = samples[: self._given - self._returned]
        self._returned += len(samples)
        return samples

    def _mark(self, until: int) -> np.ndarray:
        """The marked signal, at 32 kHz, that is complete with the frames before `until`."""
        parts = [np.empty(0, np.float32)]
        while self._marked < until:
            last = min(until, self._marked + FRAMES_AT_ONCE)
            parts.append(self._block(self._marked, last))
            self._marked = last
            self._framer.drop(max(0, min(last - CONTEXT, self._framer.frames)))
        return np.concatenate(parts)

    def _block(self, first: int, last: int) -> np.ndarray:
        seen = max(0, first - CONTEXT), min(last + CONTEXT, self._framer.frames)
        spectrum = spectra(self._framer.between(*seen))
        frames, self._loudest = _marked_frames(
            self._networks,
            spectrum,
            first - seen[0],
            seen[1] - last,
            self._loudest,
        )
        added = np.array(overlap_add(frames, HOP))
        weight = _window_weight(last - first).copy()
        added[: N_FFT - HOP] += self._overlap
        weight[: N_FFT - HOP] += self._weight
        complete = HOP * (last - first)
        self._overlap, self._weight = added[complete:], weight[complete:]
        skip = min(self._skip, complete)
        self._skip -= skip
        return added[skip:complete] / weight[skip:complete]


def _marked_frames(
    networks: PerthNet, spectrum: mx.array, before: int, after: int, loudest: float
) -> tuple[mx.array, float]:
    """Mark frames and transform them back.

    Args:
        spectrum: (T, BINS) complex, the frames and what surrounds them.
        before, after: the frames that surround them, `CONTEXT` or, at the ends, fewer.
        loudest: the largest sum of levels so far.

    Returns:
        (T - before - after, N_FFT) windowed samples, and the largest sum of levels.
    """
    end = spectrum.shape[0] - after
    absolute = mx.abs(spectrum)
    magnitude = mx.maximum(absolute, MIN_MAGNITUDE)
    level = levels(magnitude)
    sums = level.sum(axis=-1)
    loudest = max(loudest, float(sums.max()))
    change = run_stack(networks.encoder.layers, level[:, :BAND], CONTEXT - before, CONTEXT - after)
    audible = (sums[before:end, None] > SILENCE * loudest).astype(change.dtype)
    # Magnitudes below the smallest are raised to it, as upstream does.
    raised = magnitude / mx.maximum(absolute, 1e-30)
    scale = raised[before:end]
    scale = mx.concatenate([scale[:, :BAND] * factor(change * audible), scale[:, BAND:]], axis=1)
    marked = scaled(spectrum[before:end], scale)
    marked = mx.where(absolute[before:end] > 0, marked, MIN_MAGNITUDE)
    return mx.fft.irfft(marked, n=N_FFT, axis=-1) * hann_window(N_FFT), loudest


@lru_cache(maxsize=8)
def _window_weight(frames: int) -> np.ndarray:
    """Sum of the squared windows of `frames` frames, ((frames - 1) * HOP + N_FFT,)."""
    window = hann_window(N_FFT)
    squares = mx.broadcast_to(window * window, (frames, N_FFT))
    return np.array(overlap_add(squares, HOP))
