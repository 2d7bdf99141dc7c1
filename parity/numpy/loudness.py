"""Loudness after ITU-R BS.1770-4 in plain NumPy and SciPy."""

from __future__ import annotations

import numpy as np
from scipy.signal import lfilter


def integrated_loudness(x: np.ndarray, sample_rate: int) -> float:
    """(n,) -> LUFS, mono: K-weighting, blocks of 0.4 s every 0.1 s, two gates.

    The filters are those of the recommendation's analogue prototypes at any rate: a shelf of 4 dB
    above 1.5 kHz and a high-pass at 38 Hz.
    """
    weighted = lfilter(*_shelf(sample_rate), x.astype(np.float64))
    weighted = lfilter(*_high_pass(sample_rate), weighted)
    length = 0.4 * sample_rate
    count = int(np.round((len(x) / sample_rate - 0.4) / 0.1)) + 1
    starts = [int(i * 0.1 * sample_rate) for i in range(count)]
    ends = [int(i * 0.1 * sample_rate + length) for i in range(count)]
    spans = zip(starts, ends, strict=True)
    power = np.array([np.sum(weighted[start:end] ** 2) / length for start, end in spans])
    level = -0.691 + 10 * np.log10(np.maximum(power, 1e-30))
    relative = -0.691 + 10 * np.log10(power[level >= -70.0].mean()) - 10.0
    kept = power[(level > relative) & (level > -70.0)]
    return float(-0.691 + 10 * np.log10(kept.mean()))


def _shelf(sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
    gain, q, centre = 10 ** (4.0 / 40), 1 / np.sqrt(2), 1500.0
    w = 2 * np.pi * centre / sample_rate
    cosine, slope = np.cos(w), np.sqrt(gain) * np.sin(w) / q
    up, down = gain + 1, gain - 1
    slopes = np.array([slope, 0.0, -slope])
    b = np.array([up + down * cosine, -2 * (down + up * cosine), up + down * cosine]) + slopes
    a = np.array([up - down * cosine, 2 * (down - up * cosine), up - down * cosine]) + slopes
    return gain * b / a[0], a / a[0]


def _high_pass(sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
    w = 2 * np.pi * 38.0 / sample_rate
    alpha, cosine = np.sin(w) / (2 * 0.5), np.cos(w)
    b = np.array([(1 + cosine) / 2, -(1 + cosine), (1 + cosine) / 2])
    a = np.array([1 + alpha, -2 * cosine, 1 - alpha])
    return b / a[0], a / a[0]
