"""The small ChatTTS of the parity tool with few text tokens, which need no tokenizer."""

from __future__ import annotations

from dataclasses import replace

from mlx_chatterbox.models.chattts.config import ChatTTSConfig
from mlx_chatterbox.parity.fabricate import small_chattts as small


def small_chattts() -> ChatTTSConfig:
    """Build the configuration; the codes are as many as the large one's."""
    config = small.small_chattts()
    tokens = {"num_text_tokens": 700, "stop_text_token": 680, "speaker_token": 690}
    return replace(config, gpt=replace(config.gpt, **tokens))
