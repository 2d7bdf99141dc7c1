"""The pocket model's configuration, and its networks before they are trained."""

from __future__ import annotations

from ...checkpoint import Chatterbox, build
from ...config import GenerationConfig, ModelConfig, TextConfig
from ...models.s3gen.config import CAMPPlusConfig
from ...models.s3tokenizer.config import S3TokenizerConfig
from ...models.voice_encoder.config import VoiceEncoderConfig
from ..trained import seeded
from .running import SEED
from .sizes import hift_config

CODES = 3**6
SPEAKER_WIDTH = 64


def tokenizer_config() -> S3TokenizerConfig:
    """Six digits of three levels: 729 codes."""
    return S3TokenizerConfig(n_audio_state=128, n_audio_head=2, n_audio_layer=3, quantizer_dims=6)


def speaker_encoder_config() -> CAMPPlusConfig:
    """CAM++."""
    return CAMPPlusConfig(
        embedding_size=SPEAKER_WIDTH,
        head_channels=4,
        growth_rate=8,
        init_channels=32,
        block_layers=[3, 4, 3],
    )


def voice_encoder_config() -> VoiceEncoderConfig:
    """The LSTM."""
    return VoiceEncoderConfig(hidden_size=64, num_layers=2, speaker_embed_size=SPEAKER_WIDTH)
