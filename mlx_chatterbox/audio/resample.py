"""The two resamplers that upstream uses; their results differ.

`resample_soxr` (SoX's "high quality", through the soxr package) is what `librosa.load` and
`librosa.resample` do; `resample_sinc` is torchaudio's windowed sinc, used inside S3Gen.
"""

from __future__ import annotations

import math
from functools import lru_cache

import mlx.core as mx
import numpy as np

from .stft import frame

# Above this many weights, the filters of all phases are not held as one dense matrix.
_DENSE_WEIGHTS = 1 << 20


def resample_soxr(waveform: np.ndarray, orig_sr: int, target_sr: int) -> np.ndarray:
    """Resample by SoX's high-quality filter, as `librosa.resample` does by default.

    waveform: (n,) float32. Returns (ceil(n * (target_sr / orig_sr)),) float32, cut or filled with
    zeros to this length; the product is rounded as in librosa, which can add a last sample.
    """
    waveform = np.asarray(waveform, dtype=np.float32)
    if orig_sr == target_sr:
        return waveform
    import soxr

    length = math.ceil(len(waveform) * (float(target_sr) / orig_sr))
    resampled = soxr.resample(waveform, orig_sr, target_sr, quality="soxr_hq")[:length]
    return np.pad(resampled, (0, length - len(resampled)))


@lru_cache(maxsize=16)
def _sinc_taps(orig: int, new: int, zeros: int, rolloff: float) -> tuple[np.ndarray, np.ndarray]:
    """The Hann-windowed sinc filter of every output phase, for rates without a common divisor.

    Output sample j takes taps[j] from the inputs start[j], start[j] + 1, ...
    Returns start (new,) int64, counted from the input sample at time zero, and taps
    (new, 2 * width + 1) float64.
    """
    cutoff = min(orig, new) * rolloff
    width = math.ceil(zeros * orig / cutoff)
    phase = np.arange(new)
    start = phase * orig // new - width
    positions = start[:, None] + np.arange(2 * width + 1)
    # torchaudio holds the phases in float32; with thousands of them that shows (1e-5), so here too.
    delay = (phase / new).astype(np.float32).astype(np.float64)
    t = np.clip((positions / orig - delay[:, None]) * cutoff, -zeros, zeros)
    taps = np.sinc(t) * np.cos(np.pi * t / zeros / 2) ** 2 * (cutoff / orig)
    return start, taps


@lru_cache(maxsize=16)
def _sinc_matrix(orig: int, new: int, zeros: int, rolloff: float) -> np.ndarray:
    """(orig + 2 * width, new) float32: one block of inputs to the `new` outputs it yields."""
    start, taps = _sinc_taps(orig, new, zeros, rolloff)
    width = taps.shape[1] // 2
    matrix = np.zeros((new, orig + 2 * width))
    columns = start[:, None] + width + np.arange(taps.shape[1])
    # Taps beyond the right end have weight zero.
    inside = columns < matrix.shape[1]
    matrix[np.nonzero(inside)[0], columns[inside]] = taps[inside]
    return np.ascontiguousarray(matrix.T, dtype=np.float32)


def resample_sinc(
    x: mx.array,
    orig_sr: int,
    target_sr: int,
    lowpass_filter_width: int = 6,
    rolloff: float = 0.99,
) -> mx.array:
    """Resample by a Hann-windowed sinc, as `torchaudio.transforms.Resample` does by default.

    x: (..., n) float32. Returns (..., ceil(n * target_sr / orig_sr)). `lowpass_filter_width` is
    the number of the sinc's zero crossings kept at each side, `rolloff` the cutoff as a fraction
    of the lower of both Nyquist frequencies.
    """
    if orig_sr == target_sr:
        return x
    divisor = math.gcd(orig_sr, target_sr)
    orig, new = orig_sr // divisor, target_sr // divisor
    n = x.shape[-1]
    # torchaudio rounds this quotient to float32 first, which can cost a last sample.
    length = math.ceil(np.float32(new * n / orig))
    start, taps = _sinc_taps(orig, new, lowpass_filter_width, rolloff)
    width = taps.shape[1] // 2
    x = mx.pad(x, [(0, 0)] * (x.ndim - 1) + [(width, width + orig)])
    if new * (orig + 2 * width) <= _DENSE_WEIGHTS:
        matrix = mx.array(_sinc_matrix(orig, new, lowpass_filter_width, rolloff))
        blocks = mx.contiguous(frame(x, matrix.shape[0], orig))
        return (blocks @ matrix).reshape(*x.shape[:-1], -1)[..., :length]
    # Rates such as 44,101 to 24,000 Hz have tens of thousands of phases: gather, phase by phase.
    sample = np.arange(length)
    first = sample // new * orig + start[sample % new] + width
    inputs = mx.take(x, mx.array(first[:, None] + np.arange(taps.shape[1])), axis=-1)
    return (inputs * mx.array(taps[sample % new].astype(np.float32))).sum(axis=-1)
