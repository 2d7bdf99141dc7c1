"""DVAE: sound to codes, by which a recording becomes a prompt, and codes to a mel spectrogram."""

from __future__ import annotations

import mlx.core as mx

from ...audio.stft import hann_window, stft
from ...errors import AudioError
from ...nn.activations import gelu
from ...nn.conv import Conv1d
from .config import DVAEConfig
from .convnext import ConvNeXtStack, SpectrogramDecoder
from .gfsq import GFSQ

_LEAST_MAGNITUDE = 1e-5


class DVAE(SpectrogramDecoder):
    """The autoencoder; `SpectrogramDecoder` decodes the features of its codes.

    Attributes:
        mel_filters: (bins, n_mels), the checkpoint's own triangles.
    """

    def __init__(self, config: DVAEConfig, n_mels: int):
        super().__init__(config.decoder, n_mels)
        self.config = config
        self.mel_filters = mx.zeros((config.n_fft // 2 + 1, n_mels))
        channels = config.encoder.in_channels
        self.downsample_conv = [
            Conv1d(n_mels, channels, 3, padding=1),
            Conv1d(channels, channels, 4, stride=2, padding=1),
        ]
        self.encoder = ConvNeXtStack(config.encoder)
        self.quantizer = GFSQ(config)

    def features(self, codes: mx.array) -> mx.array:
        """(B, n, codebooks) int32, a step each, to (B, n, 2 C)."""
        return self.quantizer.decode(codes)

    def decode(self, codes: mx.array) -> mx.array:
        """(B, n, codebooks) int32 to a log-mel spectrogram, (B, 2 n, n_mels)."""
        return self(self.features(codes))

    def log_mel(self, waveform: mx.array) -> mx.array:
        """Natural logarithms of mel magnitudes, clipped at 1e-5.

        Args:
            waveform: (n,) or (B, n) float32 in [-1, 1] at 24 kHz.

        Returns:
            (..., 1 + n // hop, n_mels) float32
        """
        size, hop = self.config.n_fft, self.config.hop
        real, imag = stft(waveform, size, hop, hann_window(size))
        mel = mx.sqrt(real * real + imag * imag) @ self.mel_filters.astype(mx.float32)
        return mx.log(mx.maximum(mel, _LEAST_MAGNITUDE))

    def encode(self, waveform: mx.array) -> mx.array:
        """Encode recordings of one length.

        Args:
            waveform: (n,) or (B, n) float32 in [-1, 1] at 24 kHz.

        Returns:
            (..., (1 + n // hop) // 2, codebooks) int32.

        Raises:
            AudioError: too short for a code.
        """
        if waveform.shape[-1] < self.config.hop:
            raise AudioError(
                f"The recording has {waveform.shape[-1]} samples at 24 kHz; an audio prompt needs "
                f"{self.config.hop} or more."
            )
        mel = self.log_mel(waveform)
        frames = mel.reshape(-1, *mel.shape[-2:]).astype(self.coef.dtype) / self.coef
        for conv in self.downsample_conv:
            frames = gelu(conv(frames))
        codes = self.quantizer.encode(self.encoder(frames))
        return codes.reshape(*mel.shape[:-2], *codes.shape[1:])
