"""Vocos: a log-mel spectrogram to a waveform through a spectrum and its inverse transform.

Source: https://arxiv.org/abs/2306.00814.
"""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn

from ...audio.stft import hann_window, istft
from ...nn.conv import Conv1d
from ...nn.norm import LayerNorm
from .config import VocosConfig
from .convnext import NORM_EPS, ConvNeXtBlock

MAX_MAGNITUDE = 1e2
# Far above its logarithm, and where exp is still finite.
_MAX_EXPONENT = 80.0


class VocosBackbone(nn.Module):
    """The frames' features, (B, T, hidden_channels)."""

    def __init__(self, config: VocosConfig, n_mels: int):
        super().__init__()
        channels, kernel = config.hidden_channels, config.kernel_size
        self.embed = Conv1d(n_mels, channels, kernel, padding=kernel // 2)
        self.norm = LayerNorm(channels, eps=NORM_EPS)
        self.convnext = [
            ConvNeXtBlock(channels, config.inner_channels, kernel) for _ in range(config.num_layers)
        ]
        self.final_layer_norm = LayerNorm(channels, eps=NORM_EPS)

    def __call__(self, mel: mx.array) -> mx.array:
        """(B, T, n_mels) to (B, T, C)."""
        hidden = self.embed(mel)
        shape = hidden.shape
        hidden = self.norm(hidden.flatten(0, 1)).reshape(shape)
        for block in self.convnext:
            hidden = block(hidden)
        return self.final_layer_norm(hidden.flatten(0, 1)).reshape(shape)


class VocosHead(nn.Module):
    """Logarithms of magnitudes, and phases, of each frame's spectrum."""

    def __init__(self, config: VocosConfig):
        super().__init__()
        self.out = nn.Linear(config.hidden_channels, config.n_fft + 2)

    def __call__(self, hidden: mx.array) -> tuple[mx.array, mx.array]:
        """(B, T, C) to real and imaginary parts, (B, T, n_fft / 2 + 1) float32 each."""
        logarithm, phase = mx.split(self.out(hidden).astype(mx.float32), 2, axis=-1)
        magnitude = mx.minimum(mx.exp(mx.minimum(logarithm, _MAX_EXPONENT)), MAX_MAGNITUDE)
        return magnitude * mx.cos(phase), magnitude * mx.sin(phase)


class Vocos(nn.Module):
    """The vocoder."""

    def __init__(self, config: VocosConfig, n_mels: int):
        super().__init__()
        self.config = config
        self.backbone = VocosBackbone(config, n_mels)
        self.head = VocosHead(config)

    def __call__(self, mel: mx.array) -> mx.array:
        """Make a waveform.

        Args:
            mel: (B, T, n_mels), natural logarithms.

        Returns:
            (B, hop (T - 1)) float32 at 24 kHz.
        """
        real, imag = self.head(self.backbone(mel))
        size = self.config.n_fft
        # A real signal has no imaginary part at 0 and at half the sample rate; not every inverse
        # transform ignores one.
        bins = mx.arange(size // 2 + 1)
        imag = mx.where((bins > 0) & (bins < size // 2), imag, 0.0)
        return istft(real, imag, size, self.config.hop, hann_window(size))
