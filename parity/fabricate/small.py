"""A whole model small enough for seconds: every network and every branch, few parameters."""

from __future__ import annotations

from mlx_chatterbox.models.chattts.config import (
    BodyConfig,
    ChatTTSConfig,
    DVAEConfig,
    GPTConfig,
    VocosConfig,
)
from mlx_chatterbox.models.config import ModelConfig
from mlx_chatterbox.models.s3gen.config import CAMPPlusConfig, S3GenConfig, chatterbox_hift
from mlx_chatterbox.models.s3tokenizer.config import S3TokenizerConfig
from mlx_chatterbox.models.t3.config import T3Config
from mlx_chatterbox.models.voice_encoder.config import VoiceEncoderConfig
from mlx_chatterbox.weights.variants import variant_named

from ..inputs.make import Sizes

SMALL_SIZES = Sizes(
    audio_seconds=2.6,
    text_tokens=9,
    s3_encoder_frames=51,
    t3_prompt_tokens=11,
    t3_speech_tokens=7,
    greedy_steps=12,
    flow_prompt_tokens=7,
    flow_speech_tokens=6,
    flow_steps=3,
    estimator_frames=17,
    vocoder_frames=11,
    sampler_cases=200,
)


def small_config(variant: str = "english") -> ModelConfig:
    """Configuration with full vocabularies and rates, and small widths and depths."""
    config = variant_named(variant).default_config()
    config.t3 = T3Config(
        backbone=config.t3.backbone,
        text_tokens_dict_size=config.t3.text_tokens_dict_size,
        speech_tokens_dict_size=config.t3.speech_tokens_dict_size,
        speech_cond_prompt_len=config.t3.speech_cond_prompt_len,
        hidden_size=64,
        intermediate_size=256 if config.t3.is_gpt2 else 96,
        num_hidden_layers=2,
        num_attention_heads=4,
        head_dim=16,
        max_text_tokens=256,
        max_speech_tokens=1024 if config.t3.is_gpt2 else 256,
        max_position_embeddings=2048,
        perceiver_queries=4,
        has_mask=config.t3.has_mask,
    )
    config.s3gen = small_s3gen(config.s3gen.meanflow)
    config.s3_tokenizer = S3TokenizerConfig(n_audio_state=32, n_audio_head=2, n_audio_layer=1)
    config.voice_encoder = VoiceEncoderConfig(hidden_size=16)
    return config


def small_s3gen(meanflow: bool = False) -> S3GenConfig:
    hift = chatterbox_hift()
    hift.base_channels = 32
    hift.f0_predictor_cond_channels = 24
    return S3GenConfig(
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
        meanflow=meanflow,
        hift=hift,
        speaker_encoder=CAMPPlusConfig(
            head_channels=4, growth_rate=8, init_channels=16, block_layers=[2, 1, 1]
        ),
    )


def small_chattts_config() -> ChatTTSConfig:
    """Configuration of a ChatTTS whose vocabulary, speakers and rates are the published ones."""
    return ChatTTSConfig(
        gpt=GPTConfig(intermediate_size=128, num_hidden_layers=2),
        decoder=BodyConfig(bottleneck=16, hidden_channels=24, num_layers=2),
        dvae=DVAEConfig(
            decoder=BodyConfig(
                in_channels=32, bottleneck=16, hidden_channels=24, out_channels=24, num_layers=2
            ),
            encoder=BodyConfig(
                in_channels=48, bottleneck=16, hidden_channels=24, out_channels=64, num_layers=2
            ),
        ),
        vocos=VocosConfig(hidden_channels=32, inner_channels=48, num_layers=2),
    )
