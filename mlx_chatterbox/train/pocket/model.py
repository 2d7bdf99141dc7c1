"""The pocket model's configuration."""

from __future__ import annotations

from ...models.config import (
    FineTuningConfig,
    GenerationConfig,
    ModelConfig,
    PackingConfig,
    TextConfig,
)
from ...models.s3gen.config import CAMPPlusConfig, S3GenConfig
from ...models.s3tokenizer.config import S3TokenizerConfig
from ...models.t3.config import T3Config
from ...models.voice_encoder.config import VoiceEncoderConfig
from ...text.lexicon import START, STOP, vocabulary
from .sizes import flow_fields, hift_config

CODES = 3**6
SPEAKER_WIDTH = 64


def pocket_config() -> ModelConfig:
    """Return the configuration of the whole model, with the settings that it speaks best with."""
    return ModelConfig(
        variant="english",
        dtype="float32",
        t3=t3_config(),
        s3gen=S3GenConfig(
            vocab_size=CODES,
            speaker_embed_dim=SPEAKER_WIDTH,
            hift=hift_config(),
            speaker_encoder=speaker_encoder_config(),
            **flow_fields(),
        ),
        s3_tokenizer=tokenizer_config(),
        voice_encoder=voice_encoder_config(),
        text=TextConfig(lexicon=True, normalize=True),
        generation=GenerationConfig(
            temperature=0.5,
            repetition_penalty=1.0,
            min_p=0.05,
            cfg_weight=0.0,
            max_new_tokens=500,
            cfm_steps=3,
            longest_piece=120,
        ),
        fine_tuning=FineTuningConfig(
            # At 5e-5 three epochs of 25 clips cost a tenth more word errors in other sentences, at
            # 1e-5 none.
            learning_rate=1e-5,
            # The silence at the beginning of flite's speech and the loudness of slt, rms and awb.
            trim_margin_s=0.3,
            speech_lufs=[-23.0, -14.0],
            # As `t3.py` and `flow.py` train.
            text_dropout=0.05,
            token_noise=0.08,
            condition_dropout=0.0,
            start_share=0.5,
            loss_weights={"t3": {"text": 0.0}, "flow": {"mu": 0.5}},
        ),
        packing=PackingConfig(bits=8, group_size=32),
        source={"name": "pocket"},
    )


def tokenizer_config() -> S3TokenizerConfig:
    """Return the tokenizer's configuration: six digits of three levels, 729 codes."""
    return S3TokenizerConfig(n_audio_state=128, n_audio_head=2, n_audio_layer=3, quantizer_dims=6)


def speaker_encoder_config() -> CAMPPlusConfig:
    """Return the configuration of CAM++."""
    return CAMPPlusConfig(
        embedding_size=SPEAKER_WIDTH,
        head_channels=4,
        growth_rate=8,
        init_channels=32,
        block_layers=[3, 4, 3],
    )


def voice_encoder_config() -> VoiceEncoderConfig:
    """Return the configuration of the voice encoder, an LSTM."""
    return VoiceEncoderConfig(hidden_size=64, num_layers=2, speaker_embed_size=SPEAKER_WIDTH)


def t3_config() -> T3Config:
    """Return T3's configuration: a Llama with a speaker embedding and no speech prompt.

    With a prompt it would be a third slower.
    """
    tokens = vocabulary()
    return T3Config(
        text_tokens_dict_size=96,
        start_text_token=tokens[START],
        stop_text_token=tokens[STOP],
        max_text_tokens=320,
        speech_tokens_dict_size=CODES + 2,
        start_speech_token=CODES,
        stop_speech_token=CODES + 1,
        max_speech_tokens=600,
        speech_cond_prompt_len=0,
        speaker_embed_size=SPEAKER_WIDTH,
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=5,
        num_attention_heads=4,
        head_dim=64,
    )
