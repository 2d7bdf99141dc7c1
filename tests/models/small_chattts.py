"""A small ChatTTS with everything the large one has, and its files."""

from __future__ import annotations

from mlx_chatterbox.doctor.small_chattts import small_chattts_config
from mlx_chatterbox.models.chattts.config import ChatTTSConfig, GPTConfig


def small_chattts() -> ChatTTSConfig:
    """Build the configuration; the codes are as many as the large one's."""
    return small_chattts_config(
        GPTConfig(
            num_text_tokens=700,
            stop_text_token=680,
            speaker_token=690,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=3,
            num_attention_heads=4,
            max_position_embeddings=128,
        )
    )
