"""Detection of the watermark."""

from __future__ import annotations

import math

import mlx.core as mx
import numpy as np

from ..errors import AudioError
from ..runtime.threads import compute_in_this_thread
from .marker import as_channels
from .network import CONTEXT, Layer, run_stack
from .spectrogram import (
    BAND,
    FRAMES_AT_ONCE,
    SAMPLE_RATE,
    SILENCE,
    framed,
    levels,
    magnitudes,
    spectra,
)
from .weights import load_networks

#: Scores from here on mean that there is a mark; upstream rounds the score.
THRESHOLD = 0.5
MIN_SECONDS = 0.1


def detect(waveform: np.ndarray, sample_rate: int) -> float:
    """Score a recording: near 1 if it is marked, near 0 if not.

    Args:
        waveform: (samples,) or (samples, channels) float; the highest score of the
            channels counts.
        sample_rate: in Hz.

    Returns:
        0 to 1; marked from `THRESHOLD` on. Digital silence has no mark: 0.

    Raises:
        AudioError: under 0.1 s, another shape, or samples that are not finite.
        CheckpointError: the weights are not installed.
    """
    compute_in_this_thread()
    channels = as_channels(waveform, sample_rate)
    seconds = len(channels[0]) / sample_rate
    if seconds < MIN_SECONDS:
        raise AudioError(f"the audio lasts {seconds:.2f} s; at least {MIN_SECONDS} s are needed.")
    answers = [answer(at_32k(channel, sample_rate)) for channel in channels]
    return min(max(0.0, *answers), 1.0)


def at_32k(channel: np.ndarray, sample_rate: int) -> np.ndarray:
    """Resample (n,) by SciPy's polyphase filter, as upstream's detector (not its marker) does."""
    if sample_rate == SAMPLE_RATE:
        return channel
    from scipy.signal import resample_poly

    divisor = math.gcd(SAMPLE_RATE, int(sample_rate))
    length = math.ceil(len(channel) * SAMPLE_RATE / sample_rate)
    out = resample_poly(channel, SAMPLE_RATE // divisor, int(sample_rate) // divisor)[:length]
    return np.pad(out, (0, length - len(out))).astype(np.float32)


def answer(signal: np.ndarray) -> float:
    """The detector's score of (n,) samples at 32 kHz, before it is clipped to 0 to 1."""
    band, sums = [], []
    for block in framed([signal]):
        level = levels(magnitudes(spectra(block)))
        band.append(np.array(level[:, :BAND]))
        sums.append(np.array(level.sum(axis=-1)))
    spectrogram, loudness = np.concatenate(band), np.concatenate(sums)
    audible = loudness > SILENCE * loudness.max()
    if not audible.any():
        return 0.0
    decoder, frames = load_networks().decoder, len(spectrogram)
    readers = [
        _read(decoder.slow_layers, spectrogram, audible, int(frames * 1.25)),
        _read(decoder.normal_layers, spectrogram, audible, frames),
        _read(decoder.fast_layers, spectrogram, audible, int(frames * 0.75)),
    ]
    confidence, answers = np.array(readers).T
    weight = np.exp(confidence - confidence.max())
    return float((answers * weight).sum() / weight.sum())


def _read(
    layers: list[Layer], spectrogram: np.ndarray, audible: np.ndarray, length: int
) -> tuple[float, float]:
    """Run one reader: its confidence and answer, means over the audible frames.

    Args:
        spectrogram: (T, BAND).
        audible: (T,) bool.
        length: the frames to which the spectrogram is stretched first.
    """
    frames = len(spectrogram)
    # In float32, as PyTorch computes the nearest frame.
    nearest = np.floor(np.arange(length, dtype=np.float32) * np.float32(frames / length))
    is_audible = audible[np.minimum(nearest.astype(np.int64), frames - 1)]
    if not is_audible.any():
        return -math.inf, 0.0
    total = np.zeros(2)
    for first in range(0, length, FRAMES_AT_ONCE):
        last = min(first + FRAMES_AT_ONCE, length)
        start, stop = max(0, first - CONTEXT), min(last + CONTEXT, length)
        out = run_stack(
            layers,
            mx.array(_stretched(spectrogram, start, stop, length)),
            CONTEXT - (first - start),
            CONTEXT - (stop - last),
        )
        total += np.array(out)[is_audible[first:last]].sum(axis=0, dtype=np.float64)
    confidence, mean = total / is_audible.sum()
    return confidence, mean


def _stretched(spectrogram: np.ndarray, start: int, stop: int, length: int) -> np.ndarray:
    """Frames start to stop - 1 of the spectrogram stretched to `length`, first and last aligned."""
    frames = len(spectrogram)
    if length == frames:
        return spectrogram[start:stop]
    positions = np.arange(start, stop) * ((frames - 1) / max(length - 1, 1))
    left = np.minimum(positions.astype(np.int64), frames - 1)
    right = np.minimum(left + 1, frames - 1)
    share = (positions - left).astype(np.float32)[:, None]
    return (1 - share) * spectrogram[left] + share * spectrogram[right]
