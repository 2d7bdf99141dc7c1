"""Hyperparameters of the voice encoder.

Source: upstream `models/voice_encoder/config.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...checks.config_base import Config, need


@dataclass
class VoiceEncoderConfig(Config):
    """LSTM speaker encoder after Wan et al. (GE2E), three layers."""

    num_mels: int = 40
    hidden_size: int = 256
    num_layers: int = 3
    speaker_embed_size: int = 256
    partial_frames: int = 160

    def __post_init__(self):
        # Partial utterances follow each other by a whole number of frames, 1 or more.
        need("the voice encoder", partial_frames=self.partial_frames <= 12000)

    def layers(self) -> int:
        return self.num_layers
