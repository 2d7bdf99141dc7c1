"""Hyperparameters of the voice encoder.

Source: upstream `models/voice_encoder/config.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...config_base import Config


@dataclass
class VoiceEncoderConfig(Config):
    """LSTM speaker encoder after Wan et al. (GE2E), three layers."""

    num_mels: int = 40
    hidden_size: int = 256
    num_layers: int = 3
    speaker_embed_size: int = 256
    partial_frames: int = 160
