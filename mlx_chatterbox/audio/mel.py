"""The three mel spectrograms of Chatterbox, equal to what upstream computes by librosa and torch.

All use periodic Hann windows and Slaney's mel scale and normalisation; they differ in everything
else. Waveforms are float32 in [-1, 1].
"""

from __future__ import annotations

from functools import lru_cache

import mlx.core as mx
import numpy as np

from .stft import hann_window, reflect_pad, stft

# Slaney's scale: linear up to 1000 Hz (15 mels), then 27 mels for each factor of 6.4.
_HZ_PER_MEL = 200.0 / 3
_LOG_START_HZ = 1000.0
_LOG_START_MEL = _LOG_START_HZ / _HZ_PER_MEL
_LOG_STEP = np.log(6.4) / 27.0


def _hz_to_mel(hz: float) -> float:
    if hz < _LOG_START_HZ:
        return hz / _HZ_PER_MEL
    return _LOG_START_MEL + np.log(hz / _LOG_START_HZ) / _LOG_STEP


def _mel_to_hz(mel: np.ndarray) -> np.ndarray:
    logarithmic = _LOG_START_HZ * np.exp(_LOG_STEP * (mel - _LOG_START_MEL))
    return np.where(mel >= _LOG_START_MEL, logarithmic, _HZ_PER_MEL * mel)


@lru_cache(maxsize=16)
def mel_filters(
    sample_rate: int, n_fft: int, n_mels: int, fmin: float = 0.0, fmax: float | None = None
) -> np.ndarray:
    """Triangular filters of unit area on Slaney's mel scale, as `librosa.filters.mel`.

    fmin, fmax: Hz, the latter half the sample rate by default. Returns (n_mels, n_fft // 2 + 1)
    float32, read-only because it is cached.
    """
    fmax = sample_rate / 2 if fmax is None else fmax
    mels = np.linspace(_hz_to_mel(fmin), _hz_to_mel(fmax), n_mels + 2)
    edges = _mel_to_hz(mels)
    bins = np.fft.rfftfreq(n_fft, d=1.0 / sample_rate)
    distance = edges[:, None] - bins[None, :]
    width = np.diff(edges)[:, None]
    rising, falling = -distance[:-2] / width[:-1], distance[2:] / width[1:]
    # librosa rounds to float32 before and after the scaling; rounding once would differ by an ulp.
    triangles = np.maximum(0.0, np.minimum(rising, falling)).astype(np.float32)
    filters = (triangles * (2.0 / (edges[2:] - edges[:-2]))[:, None]).astype(np.float32)
    filters.flags.writeable = False
    return filters


def s3_tokenizer_log_power(waveform: mx.array) -> mx.array:
    """log10 of the S3 speech tokenizer's mel power, 100 frames/s, the last frame dropped.

    waveform: (n,) at 16 kHz. Returns (n // 160, 128).
    """
    real, imag = stft(mx.array(waveform), 400, 160, hann_window(400))
    power = (real * real + imag * imag)[:-1]
    mel = power @ mx.array(mel_filters(16_000, 400, 128)).T
    return mx.log10(mx.maximum(mel, 1e-10))


def clip_log_power(log_power: mx.array, loudest: mx.array) -> mx.array:
    """Clip 8 decades below the loudest value of the whole recording and scale by (x + 4) / 4.

    log_power: (T, 128). Returns (128, T).
    """
    return ((mx.maximum(log_power, loudest - 8.0) + 4.0) / 4.0).T


def s3_tokenizer_log_mel(waveform: mx.array) -> mx.array:
    """Log-mel input of the S3 speech tokenizer, 100 frames/s.

    waveform: (n,) at 16 kHz. Returns (128, n // 160): see `clip_log_power`.
    """
    log_power = s3_tokenizer_log_power(waveform)
    return clip_log_power(log_power, log_power.max() if log_power.size else mx.array(0.0))


def s3gen_mel(waveform: mx.array) -> mx.array:
    """Log-mel of the S3Gen decoder, 50 frames/s, 0 to 8 kHz.

    waveform: (n,) or (B, n) at 24 kHz. Returns (..., n // 480, 80): natural logarithm of mel
    magnitudes, clipped at 1e-5.
    """
    padded = reflect_pad(mx.array(waveform), 720, 720)
    real, imag = stft(padded, 1920, 480, hann_window(1920), center=False)
    magnitude = mx.sqrt(real * real + imag * imag + 1e-9)
    mel = magnitude @ mx.array(mel_filters(24_000, 1920, 80, 0.0, 8000.0)).T
    return mx.log(mx.maximum(mel, 1e-5))


def voice_encoder_mel(waveform: mx.array) -> mx.array:
    """Mel power (no logarithm) of the voice encoder, 100 frames/s.

    waveform: (n,) at 16 kHz. Returns (1 + n // 160, 40).
    """
    real, imag = stft(mx.array(waveform), 400, 160, hann_window(400))
    power = real * real + imag * imag
    return power @ mx.array(mel_filters(16_000, 400, 40, 0.0, 8000.0)).T
