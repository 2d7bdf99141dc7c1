"""Hyperparameters of the S3 speech tokenizer, version 2 at 25 tokens/s.

Source: S3Tokenizer `s3tokenizer/model_v2.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...config_base import Config


@dataclass
class S3TokenizerConfig(Config):
    """Audio encoder with FSMN attention and a finite scalar quantiser of 3^8 codes."""

    n_mels: int = 128
    n_audio_state: int = 1280
    n_audio_head: int = 20
    n_audio_layer: int = 6
    fsmn_kernel_size: int = 31
    # As s3tokenizer 0.3.0, which an installation of upstream brings today; up to 0.2.0 it was 1e-6.
    attention_norm_eps: float = 1e-5
    quantizer_dims: int = 8
    quantizer_levels: int = 3
