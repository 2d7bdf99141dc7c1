"""A small ChatTTS that speaks: everything as published but for layers and channels."""

from __future__ import annotations

from pathlib import Path

from mlx_chatterbox.models.chattts.config import (
    BodyConfig,
    ChatTTSConfig,
    DVAEConfig,
    GPTConfig,
    VocosConfig,
)
from mlx_chatterbox.parity.fabricate.chattts import write
from mlx_chatterbox.parity.fabricate.chattts_tokenizer import tokenizer_json
from mlx_chatterbox.weights.conversion.core import convert_folder


def speaking_chattts() -> ChatTTSConfig:
    """Build the configuration: tokens, speakers and samples as the published model's."""
    return ChatTTSConfig(
        gpt=GPTConfig(intermediate_size=32, num_hidden_layers=1),
        decoder=BodyConfig(bottleneck=8, hidden_channels=12, out_channels=14, num_layers=2),
        dvae=DVAEConfig(
            decoder=BodyConfig(
                in_channels=12, bottleneck=8, hidden_channels=10, out_channels=12, num_layers=2
            ),
            encoder=BodyConfig(
                in_channels=18, bottleneck=8, hidden_channels=10, out_channels=24, num_layers=2
            ),
        ),
        vocos=VocosConfig(hidden_channels=12, inner_channels=20, num_layers=2),
        n_mels=10,
    )


def converted_speaking_chattts(folder: Path) -> Path:
    """Write it as a converted folder."""
    return convert_folder(write_speaking_chattts(folder / "upstream"), folder / "converted")


def write_speaking_chattts(folder: Path) -> Path:
    """Write upstream's files."""
    write(folder, speaking_chattts(), seed=3)
    tokenizer = folder / "asset/tokenizer/tokenizer.json"
    tokenizer.parent.mkdir(parents=True)
    tokenizer.write_text(tokenizer_json(), encoding="utf-8")
    return folder
