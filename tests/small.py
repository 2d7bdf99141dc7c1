"""A whole model small enough for tests: every network and every branch, few parameters."""

from __future__ import annotations

from mlx_chatterbox.config import ModelConfig
from mlx_chatterbox.models.s3gen.config import CAMPPlusConfig, S3GenConfig, chatterbox_hift
from mlx_chatterbox.models.s3tokenizer.config import S3TokenizerConfig
from mlx_chatterbox.models.t3.config import T3Config
from mlx_chatterbox.models.voice_encoder.config import VoiceEncoderConfig


def small_config() -> ModelConfig:
    """Full vocabularies and rates, small widths and depths."""
    hift = chatterbox_hift()
    hift.base_channels = 32
    hift.f0_predictor_cond_channels = 24
    return ModelConfig(
        t3=T3Config(
            hidden_size=64,
            intermediate_size=96,
            num_hidden_layers=2,
            num_attention_heads=4,
            head_dim=16,
            max_text_tokens=256,
            max_speech_tokens=256,
            perceiver_queries=4,
        ),
        s3gen=S3GenConfig(
            token_embed_dim=32,
            encoder_output_size=32,
            encoder_attention_heads=2,
            encoder_linear_units=48,
            encoder_num_blocks=1,
            encoder_num_up_blocks=1,
            decoder_channels=[16],
            decoder_n_blocks=1,
            decoder_num_mid_blocks=1,
            decoder_num_heads=2,
            decoder_attention_head_dim=8,
            hift=hift,
            speaker_encoder=CAMPPlusConfig(
                head_channels=4, growth_rate=8, init_channels=16, block_layers=[2, 1, 1]
            ),
        ),
        s3_tokenizer=S3TokenizerConfig(n_audio_state=32, n_audio_head=2, n_audio_layer=1),
        voice_encoder=VoiceEncoderConfig(hidden_size=16),
    )
