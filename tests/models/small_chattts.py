"""A small ChatTTS with everything the large one has, and its files."""

from __future__ import annotations

from mlx_chatterbox.models.chattts.config import (
    BodyConfig,
    ChatTTSConfig,
    DVAEConfig,
    GPTConfig,
    VocosConfig,
)


def small_chattts() -> ChatTTSConfig:
    """Build the configuration; the codes are as many as the large one's."""
    return ChatTTSConfig(
        gpt=GPTConfig(
            num_text_tokens=700,
            stop_text_token=680,
            speaker_token=690,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=3,
            num_attention_heads=4,
            max_position_embeddings=128,
        ),
        decoder=BodyConfig(
            in_channels=16, bottleneck=8, hidden_channels=12, out_channels=14, num_layers=2
        ),
        dvae=DVAEConfig(
            decoder=BodyConfig(
                in_channels=12, bottleneck=8, hidden_channels=10, out_channels=12, num_layers=2
            ),
            encoder=BodyConfig(
                in_channels=18, bottleneck=8, hidden_channels=10, out_channels=24, num_layers=2
            ),
            n_fft=128,
            hop=32,
        ),
        vocos=VocosConfig(hidden_channels=12, inner_channels=20, num_layers=2, n_fft=128, hop=32),
        n_mels=10,
    )
