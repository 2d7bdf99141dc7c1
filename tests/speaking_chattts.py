"""A small ChatTTS that speaks: everything as published but for layers and channels."""

from __future__ import annotations

from pathlib import Path

from mlx_chatterbox.doctor.small_chattts import small_chattts_config
from mlx_chatterbox.models.chattts.config import ChatTTSConfig, GPTConfig
from mlx_chatterbox.parity.fabricate.chattts import write
from mlx_chatterbox.parity.fabricate.chattts_tokenizer import tokenizer_json
from mlx_chatterbox.weights.conversion.core import convert_folder


def speaking_chattts() -> ChatTTSConfig:
    """Build the configuration: tokens, speakers and samples as the published model's."""
    gpt = GPTConfig(intermediate_size=32, num_hidden_layers=1)
    return small_chattts_config(gpt, n_fft=1024, hop=256)


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
