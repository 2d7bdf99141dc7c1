"""ConvNeXt blocks along time (https://arxiv.org/abs/2201.03545), and the stack made of them.

Everything here is (B, T, C). Convolutions have stride 1 and see zeros beyond both ends.
"""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn

from ...nn.activations import gelu
from ...nn.conv import Conv1d
from ...nn.norm import LayerNorm
from .config import BodyConfig

NORM_EPS = 1e-6


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution, norm and an MLP, scaled by channel and added to the input."""

    def __init__(self, channels: int, inner: int, kernel_size: int, dilation: int = 1):
        super().__init__()
        self.dwconv = Conv1d(
            channels,
            channels,
            kernel_size,
            padding=dilation * (kernel_size // 2),
            dilation=dilation,
            groups=channels,
        )
        self.norm = LayerNorm(channels, eps=NORM_EPS)
        self.pwconv1 = nn.Linear(channels, inner)
        self.pwconv2 = nn.Linear(inner, channels)
        self.gamma = mx.ones((channels,))

    def __call__(self, x: mx.array) -> mx.array:
        """(B, T, C) to the same."""
        hidden = self.norm(self.dwconv(x).reshape(-1, x.shape[-1]))
        hidden = self.pwconv2(gelu(self.pwconv1(hidden)))
        return x + (hidden * self.gamma).reshape(x.shape)


class ConvNeXtStack(nn.Module):
    """The body of ChatTTS's encoder and of both its decoders."""

    def __init__(self, config: BodyConfig):
        super().__init__()
        hidden = config.hidden_channels
        self.conv_in = [
            Conv1d(config.in_channels, config.bottleneck, 3, padding=1),
            Conv1d(config.bottleneck, hidden, 3, padding=1),
        ]
        self.blocks = [
            ConvNeXtBlock(hidden, 4 * hidden, config.kernel_size, config.dilation)
            for _ in range(config.num_layers)
        ]
        self.conv_out = Conv1d(hidden, config.out_channels, 1, bias=False)

    def __call__(self, x: mx.array) -> mx.array:
        """(B, T, in_channels) to (B, T, out_channels)."""
        first, second = self.conv_in
        hidden = second(gelu(first(x)))
        for block in self.blocks:
            hidden = block(hidden)
        return self.conv_out(hidden)


class SpectrogramDecoder(nn.Module):
    """Steps of the GPT to twice as many frames of a log-mel spectrogram."""

    def __init__(self, config: BodyConfig, n_mels: int):
        super().__init__()
        self.decoder = ConvNeXtStack(config)
        self.out_conv = Conv1d(config.out_channels, n_mels, 3, padding=1, bias=False)
        self.coef = mx.ones((1, 1, n_mels))

    def __call__(self, steps: mx.array) -> mx.array:
        """Decode.

        Args:
            steps: (B, n, 2 C): of each step its first frame's channels, then its second's.

        Returns:
            (B, 2 n, n_mels): natural logarithms of mel magnitudes.
        """
        batch, count, width = steps.shape
        frames = steps.reshape(batch, 2 * count, width // 2)
        return self.out_conv(self.decoder(frames)) * self.coef
