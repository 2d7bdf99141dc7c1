"""Loading of ChatTTS's networks from its own files: every tensor must be there and fit."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx

from ..models.chattts.config import ChatTTSConfig
from ..models.chattts.networks import ChatTTSNetworks
from .checkpoint import load_weights_strictly
from .conversion.chattts import read_config, read_tensors


def load_upstream(
    folder: str | Path, dtype: mx.Dtype = mx.float32, config: ChatTTSConfig | None = None
) -> tuple[ChatTTSConfig, ChatTTSNetworks]:
    """Load the networks of a folder with `asset/`, in evaluation mode.

    Args:
        config: sizes; by default GPT's are read from the folder and the others are the published.

    Raises:
        CheckpointError: a file is missing or damaged, has a tensor that no network has, or lacks
            one.
    """
    folder = Path(folder)
    config = read_config(folder) if config is None else config
    tensors = read_tensors(folder, dtype)
    config.check_layers(len(tensors), folder)
    networks = ChatTTSNetworks(config)
    load_weights_strictly(networks, tensors, folder)
    networks.eval()
    return config, networks
