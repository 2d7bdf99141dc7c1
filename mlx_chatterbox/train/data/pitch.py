"""F0 of speech by the autocorrelation method of Boersma (1993), the one in Praat.

P. Boersma, "Accurate short-term analysis of the fundamental frequency and the harmonics-to-noise
ratio of a sampled sound", Proc. Institute of Phonetic Sciences 17. The autocorrelation of each
windowed frame is divided by that of the window, so that the height of a peak measures the
periodicity; the best path through the frames' candidates, one of which is "unvoiced", then avoids
octave jumps. It is in NumPy, since the usual packages are compiled from C at installation.
"""

from __future__ import annotations

import numpy as np

SAMPLE_RATE = 24_000
HOP = 480
F0_MIN, F0_MAX = 60.0, 600.0
# Two and a half periods of the lowest F0 in a window (Praat has three, of 75 Hz).
_WINDOW = 1000
_N_FFT = 4096
_CANDIDATES = 6
# Praat's defaults, the costs of change for its steps of 10 ms.
_SILENCE, _VOICING = 0.03, 0.45
_OCTAVE, _OCTAVE_JUMP, _VOICE_CHANGE = 0.01, 0.35, 0.14
_STEP_SECONDS = HOP / SAMPLE_RATE


def f0(waveform: np.ndarray) -> np.ndarray:
    """Compute F0 at 50 frames/s, each at the middle of its 480 samples, as S3Gen's mel frames.

    waveform: (n,) float32 at 24 kHz. Returns (n // 480,) float32 in Hz, 60 to 600; 0 where
    unvoiced.
    """
    waveform = np.asarray(waveform, dtype=np.float64)
    count = len(waveform) // HOP
    if count == 0:
        return np.zeros(0, dtype=np.float32)
    frames = _frames(waveform, count)
    peak = np.abs(waveform - waveform.mean()).max()
    intensity = np.abs(frames).max(axis=1) / max(peak, 1e-9)
    frequency, strength = _candidates(_autocorrelation(frames), intensity)
    path = _best_path(frequency, strength)
    return frequency[np.arange(count), path].astype(np.float32)


def _frames(waveform: np.ndarray, count: int) -> np.ndarray:
    """Cut (count, _WINDOW) frames, each without its mean; zeros beyond the ends."""
    before = (_WINDOW - HOP) // 2
    padded = np.pad(waveform[: count * HOP], (before, _WINDOW))
    starts = np.arange(count) * HOP
    frames = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[starts]
    return frames - frames.mean(axis=1, keepdims=True)


def _autocorrelation(frames: np.ndarray) -> np.ndarray:
    """Compute (count, lags), normalised: 1 at lag 0, near 1 at the period of a periodic frame."""
    window = np.hanning(_WINDOW + 2)[1:-1]
    of_window = np.fft.irfft(np.abs(np.fft.rfft(window, _N_FFT)) ** 2)
    lags = int(SAMPLE_RATE / F0_MIN) + 2
    # In blocks, so that a long clip's spectra are not in memory together.
    blocks = []
    for start in range(0, len(frames), 256):
        power = np.abs(np.fft.rfft(frames[start : start + 256] * window, _N_FFT)) ** 2
        blocks.append(np.fft.irfft(power)[:, :lags])
    r = np.concatenate(blocks)
    r = r / np.maximum(r[:, :1], 1e-12)
    return r / (of_window[:lags] / of_window[0])


def _candidates(r: np.ndarray, intensity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find frequencies in Hz and strengths, (count, 1 + _CANDIDATES); the first is unvoiced, 0 Hz.

    Missing candidates have strength minus infinity.
    """
    count = len(r)
    least = int(SAMPLE_RATE / F0_MAX)
    inner = r[:, least:-1]
    before, after = r[:, least - 1 : -2], r[:, least + 1 :]
    is_peak = (inner > before) & (inner >= after) & (inner > 0.5 * _VOICING)
    # A parabola through a peak and its neighbours gives its place between two lags.
    curve = np.minimum(before - 2 * inner + after, -1e-12)
    shift = np.clip(0.5 * (before - after) / curve, -0.5, 0.5)
    height = np.minimum(inner - 0.25 * (before - after) * shift, 1.0)
    hertz = SAMPLE_RATE / (np.arange(least, r.shape[1] - 1) + shift)
    local = np.where(is_peak, height + _OCTAVE * np.log2(hertz / F0_MIN), -np.inf)
    best = np.argpartition(-local, _CANDIDATES, axis=1)[:, :_CANDIDATES]
    frequency = np.take_along_axis(hertz, best, axis=1)
    strength = np.take_along_axis(local, best, axis=1)
    quiet = 2.0 - intensity / (_SILENCE / (1.0 + _VOICING))
    unvoiced = _VOICING + np.maximum(0.0, quiet)
    frequency = np.where(np.isfinite(strength), frequency, F0_MIN)
    return (
        np.concatenate([np.zeros((count, 1)), frequency], axis=1),
        np.concatenate([unvoiced[:, None], strength], axis=1),
    )


def _best_path(frequency: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """Choose a candidate a frame, (count,): the largest sum of strengths less costs of change."""
    scale = 0.01 / _STEP_SECONDS
    octaves = np.log2(np.maximum(frequency, F0_MIN))
    score = strength[0]
    came_from = np.zeros(frequency.shape, dtype=np.int64)
    for t in range(1, len(frequency)):
        cost = _OCTAVE_JUMP * np.abs(octaves[t - 1][:, None] - octaves[t][None, :])
        # Candidate 0 is "unvoiced": into and out of it there is no jump but a change of voicing.
        cost[0, :] = cost[:, 0] = _VOICE_CHANGE
        cost[0, 0] = 0.0
        total = score[:, None] - scale * cost
        came_from[t] = total.argmax(axis=0)
        score = total.max(axis=0) + strength[t]
    path = np.zeros(len(frequency), dtype=np.int64)
    path[-1] = score.argmax()
    for t in range(len(frequency) - 1, 0, -1):
        path[t - 1] = came_from[t, path[t]]
    return path
