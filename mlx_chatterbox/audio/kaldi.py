"""Kaldi's filter-bank features, as `torchaudio.compliance.kaldi.fbank` computes them.

The x-vector network takes them. They differ from the mels of `mel.py` in the scale (1127 ln(1 +
f / 700)), in triangles that are linear in mel and not in Hz, in the window and in pre-emphasis.
"""

from __future__ import annotations

from functools import lru_cache

import mlx.core as mx
import numpy as np

from .stft import frame, raised_cosine

_SAMPLE_RATE = 16_000
_WINDOW = 400  # 25 ms
_HOP = 160  # 10 ms
_N_FFT = 512
_LOWEST_HZ = 20.0
_PREEMPHASIS = 0.97
_FLOOR = float(np.finfo(np.float32).eps)


def _mel(hz: np.ndarray | float) -> np.ndarray:
    return 1127.0 * np.log1p(np.asarray(hz) / 700.0)


@lru_cache(maxsize=4)
def _mel_banks(n_mels: int) -> np.ndarray:
    """(_N_FFT // 2 + 1, n_mels) float32: triangles of height one, 20 Hz to half the sample rate."""
    bins = _mel(np.arange(_N_FFT // 2 + 1) * (_SAMPLE_RATE / _N_FFT))[:, None]
    edges = np.linspace(_mel(_LOWEST_HZ), _mel(_SAMPLE_RATE / 2), n_mels + 2)
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    slopes = np.minimum((bins - left) / (centre - left), (right - bins) / (right - centre))
    banks = np.maximum(0.0, slopes).astype(np.float32)
    banks[-1] = 0.0  # Kaldi leaves the Nyquist bin out
    banks.flags.writeable = False
    return banks


def _povey_window() -> mx.array:
    return mx.array((raised_cosine(_WINDOW, _WINDOW - 1) ** 0.85).astype(np.float32))


def fbank(waveform: mx.array, n_mels: int = 80) -> mx.array:
    """Log mel energies of frames of 25 ms every 10 ms, without dither and without a mean taken off.

    waveform: (n,) float32 at 16 kHz. Returns (T, n_mels) with T = 1 + (n - 400) // 160, or no
    frames at all where the recording is shorter than one.
    """
    frames = frame(mx.array(waveform), _WINDOW, _HOP)
    if frames.shape[0] == 0:
        return mx.zeros((0, n_mels))
    frames = frames - frames.mean(axis=-1, keepdims=True)
    before = mx.concatenate([frames[:, :1], frames[:, :-1]], axis=-1)
    frames = (frames - _PREEMPHASIS * before) * _povey_window()
    spectrum = mx.fft.rfft(frames, n=_N_FFT, axis=-1)
    real, imag = mx.real(spectrum), mx.imag(spectrum)
    energies = (real * real + imag * imag) @ mx.array(_mel_banks(n_mels))
    return mx.log(mx.maximum(energies, _FLOOR))
