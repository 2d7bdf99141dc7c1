"""A ChatTTS for planted faults: every layer, the fewest channels, upstream's tokens and codes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from mlx_chatterbox.doctor.small_chattts import small_chattts_config
from mlx_chatterbox.models.chattts.config import ChatTTSConfig, GPTConfig
from mlx_chatterbox.weights.chattts_files import EMBED_FILE

from .chattts import fabricate_chattts

# Of the logit that ends speech in the third codebook: rows end by it after a few steps.
_STOP_GAIN = 3.0


def small_chattts() -> ChatTTSConfig:
    """Build the configuration."""
    return small_chattts_config(
        GPTConfig(
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=3,
            num_attention_heads=4,
            max_position_embeddings=128,
        )
    )


def write_small_chattts(folder: Path, seed: int) -> Path:
    """Write a small ChatTTS whose rows of codes end by one codebook's stop."""
    fabricate_chattts(folder, small_chattts(), seed)
    tensors = load_file(folder / EMBED_FILE)
    tensors["head_code.2.parametrizations.weight.original0"][-1] *= np.float32(_STOP_GAIN)
    save_file(tensors, folder / EMBED_FILE, {"format": "pt"})
    return folder
