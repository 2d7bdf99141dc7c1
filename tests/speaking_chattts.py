"""A small ChatTTS that speaks: everything as published but for layers and channels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from mlx_chatterbox.models.chattts.config import (
    BodyConfig,
    ChatTTSConfig,
    DVAEConfig,
    GPTConfig,
    VocosConfig,
)
from mlx_chatterbox.parity.fabricate.chattts import write
from mlx_chatterbox.parity.fabricate.chattts_tokenizer import tokenizer_json
from mlx_chatterbox.weights.chattts_files import EMBED_FILE
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


def converted_speaking_chattts(folder: Path, stop_gain: float = 1.0) -> Path:
    """Write it as a converted folder; arguments as of `write_speaking_chattts`."""
    upstream = write_speaking_chattts(folder / "upstream", stop_gain)
    return convert_folder(upstream, folder / "converted")


def write_speaking_chattts(folder: Path, stop_gain: float = 1.0) -> Path:
    """Write upstream's files.

    Args:
        stop_gain: factor of the logits of the code that ends speech, in the first codebook.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write(folder, speaking_chattts(), seed=3)
    tokenizer = folder / "asset/tokenizer/tokenizer.json"
    tokenizer.parent.mkdir(parents=True)
    tokenizer.write_text(tokenizer_json(), encoding="utf-8")
    tensors = load_file(folder / EMBED_FILE)
    tensors["head_code.0.parametrizations.weight.original0"][-1] *= np.float32(stop_gain)
    save_file(tensors, folder / EMBED_FILE, {"format": "pt"})
    return folder
