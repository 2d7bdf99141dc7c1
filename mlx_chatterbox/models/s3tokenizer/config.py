"""Hyperparameters of the S3 speech tokenizers.

Sources: S3Tokenizer `s3tokenizer/model_v2.py`, `s3tokenizer/model.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...checks.config_base import Config, divides, need
from ...errors import CheckpointError


@dataclass
class S3TokenizerConfig(Config):
    """Version 2, 25 tokens/s: FSMN attention and a finite scalar quantiser of 3^8 codes."""

    CHOICES: ClassVar = {"quantizer_levels": (3,)}

    n_mels: int = 128
    n_audio_state: int = 1280
    n_audio_head: int = 20
    n_audio_layer: int = 6
    fsmn_kernel_size: int = 31
    # As s3tokenizer 0.3.0, which an installation of upstream brings today; up to 0.2.0 it was 1e-6.
    attention_norm_eps: float = 1e-5
    quantizer_dims: int = 8
    quantizer_levels: int = 3

    def __post_init__(self):
        need("the S3 tokenizer", n_audio_head=_has_heads(self), quantizer_dims=_codes(self) < 2**31)

    @property
    def codes(self) -> int:
        """The number of different tokens."""
        return _codes(self)

    def layers(self) -> int:
        return self.n_audio_layer


def _codes(config: S3TokenizerConfig) -> int:
    return config.quantizer_levels ** min(config.quantizer_dims, 64)


def _has_heads(config: S3TokenizerConfig | S3TokenizerV1Config) -> bool:
    """Return True if the width divides into heads, of an even number of channels each."""
    return divides(config.n_audio_state, 2 * config.n_audio_head)


# Tokens a second by the names that the models are published under.
TOKEN_RATES_V1 = {"speech_tokenizer_v1": 50, "speech_tokenizer_v1_25hz": 25}


@dataclass
class S3TokenizerV1Config(Config):
    """Version 1, of CosyVoice: Whisper's encoder and a Euclidean codebook.

    Attributes:
        n_audio_ctx: positions that the encoder has, 30 s at 50 a second.
        token_rate: tokens a second, 50 or 25; the weights' shapes are the same.
    """

    n_mels: int = 128
    n_audio_ctx: int = 1500
    n_audio_state: int = 1280
    n_audio_head: int = 20
    n_audio_layer: int = 6
    n_codebook_size: int = 4096
    token_rate: int = 50

    def __post_init__(self):
        if self.token_rate not in TOKEN_RATES_V1.values():
            raise CheckpointError(
                f"the S3 tokenizer has 50 or 25 tokens a second, not {self.token_rate}."
            )
        need("the S3 tokenizer", n_audio_head=_has_heads(self))

    def layers(self) -> int:
        return self.n_audio_layer
