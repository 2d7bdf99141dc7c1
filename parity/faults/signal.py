"""Faults of signal processing: windows, mels, filter banks, transforms."""

from __future__ import annotations

import mlx.core as mx
import numpy as np

from mlx_chatterbox.audio import kaldi, mel, stft
from mlx_chatterbox.models.s3gen import hift

from ..mlx import backend
from .fault import Fault, Patches


def _symmetric_window(patches: Patches) -> None:
    def symmetric(n: int) -> mx.array:
        return mx.array(stft.raised_cosine(n, n - 1).astype(np.float32))

    patches.set(mel, "hann_window", symmetric)
    patches.set(hift, "hann_window", symmetric)


def _htk_scale(patches: Patches) -> None:
    mel.mel_filters.cache_clear()
    patches.at_the_end(mel.mel_filters.cache_clear)
    patches.set(mel, "_hz_to_mel", lambda hz: 2595.0 * np.log10(1.0 + hz / 700.0))
    patches.set(mel, "_mel_to_hz", lambda mels: 700.0 * (10.0 ** (mels / 2595.0) - 1.0))


def _decimal_logarithm(patches: Patches) -> None:
    natural = backend.s3gen_mel
    patches.set(backend, "s3gen_mel", lambda waveform: natural(waveform) / float(np.log(10.0)))


def _dropped_frame(patches: Patches) -> None:
    whole = backend.voice_encoder_mel
    patches.set(backend, "voice_encoder_mel", lambda waveform: whole(waveform)[:-1])


def _magnitude_for_power(patches: Patches) -> None:
    def magnitude(waveform: mx.array) -> mx.array:
        real, imag = mel.stft(mx.array(waveform), 400, 160, mel.hann_window(400))
        filters = mx.array(mel.mel_filters(16_000, 400, 128))
        power = mx.sqrt(real * real + imag * imag)[:-1] @ filters.T
        log_power = mx.log10(mx.maximum(power, 1e-10))
        return mel.clip_log_power(log_power, log_power.max())

    patches.set(backend, "s3_tokenizer_log_mel", magnitude)


def _no_preemphasis(patches: Patches) -> None:
    patches.set(kaldi, "_PREEMPHASIS", 0.0)


def _hann_for_povey(patches: Patches) -> None:
    hann = stft.raised_cosine(400, 399).astype(np.float32)
    patches.set(kaldi, "_povey_window", lambda: mx.array(hann))


def _no_envelope(patches: Patches) -> None:
    """Add up overlapping frames without dividing by the sum of their squared windows."""
    exact = hift.istft

    def istft(real, imag, n_fft, hop, window):
        squares = np.array(window) ** 2
        level = float(squares.sum()) / hop
        shape = stft.overlap_add(mx.broadcast_to(window * window, (real.shape[-2], n_fft)), hop)
        edge, end = n_fft // 2, shape.shape[-1] - n_fft // 2
        return exact(real, imag, n_fft, hop, window) * (shape[edge:end] / level)

    patches.set(hift, "istft", istft)


FAULTS = (
    Fault(
        "symmetric_window",
        "Hann windows with a zero at both ends, as SciPy makes them by default",
        ("ref_mel",),
        "audio.stft.hann_window",
        _symmetric_window,
    ),
    Fault(
        "htk_mel_scale",
        "mel filters on HTK's scale instead of Slaney's",
        ("ref_mel",),
        "audio.mel.mel_filters",
        _htk_scale,
    ),
    Fault(
        "wrong_log_base",
        "the mel's decimal logarithm instead of the natural one",
        ("ref_mel",),
        "audio.mel.s3gen_mel",
        _decimal_logarithm,
    ),
    Fault(
        "dropped_last_frame",
        "the voice encoder's mel without its last frame, as the tokenizer's is",
        ("voice_encoder",),
        "audio.mel.voice_encoder_mel",
        _dropped_frame,
    ),
    Fault(
        "magnitude_for_power",
        "the tokenizer's mel of magnitudes instead of powers",
        ("s3_tokenizer",),
        "audio.mel.s3_tokenizer_log_mel",
        _magnitude_for_power,
    ),
    Fault(
        "missing_preemphasis",
        "Kaldi's features without pre-emphasis",
        ("speaker_encoder",),
        "audio.kaldi.fbank",
        _no_preemphasis,
    ),
    Fault(
        "hann_for_povey",
        "Kaldi's features through a Hann window instead of Povey's",
        ("speaker_encoder",),
        "audio.kaldi._povey_window",
        _hann_for_povey,
    ),
    Fault(
        "missing_window_envelope",
        "the inverse STFT not divided by the windows' overlap",
        ("vocoder",),
        "audio.stft.istft",
        _no_envelope,
    ),
)
