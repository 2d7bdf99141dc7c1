"""Pitch from a mel spectrogram. Source: upstream `models/s3gen/f0_predictor.py`."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn

from ...nn.activations import elu
from ...nn.conv import Conv1d
from .config import HiFTNetConfig

LAYERS = 5


class ConvRNNF0Predictor(nn.Module):
    """Five convolutions and a projection (the name is upstream's; there is no recurrence)."""

    def __init__(self, config: HiFTNetConfig):
        super().__init__()
        width = config.f0_predictor_cond_channels
        self.condnet = []
        for layer in range(LAYERS):
            in_channels = config.f0_predictor_in_channels if layer == 0 else width
            # The vocoder's phase adds up every last digit of F0: in one product there are fewer
            # that depend on how the mel was cut (`hift_stream.py`).
            self.condnet += [Conv1d(in_channels, width, 3, padding=1, unfold=True), nn.Identity()]
        self.classifier = nn.Linear(width, 1)

    def __call__(self, mel: mx.array) -> mx.array:
        """mel (B, T, 80) to F0 in Hz, (B, T); small where unvoiced."""
        x = mel
        for conv in self.condnet[::2]:
            x = elu(conv(x))
        return mx.abs(self.classifier(x)[..., 0])
