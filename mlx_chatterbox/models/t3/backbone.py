"""T3's transformer, a Llama or a GPT-2, under the name that it has in checkpoints."""

from __future__ import annotations

import mlx.nn as nn

from ..decoder.gpt2 import GPT2Model
from ..decoder.llama import LlamaModel
from .config import T3Config


class Backbone(nn.Module):
    """Holds the model, so that keys read `tfmr.model...`."""

    def __init__(self, config: T3Config):
        super().__init__()
        self.model = GPT2Model(config) if config.is_gpt2 else LlamaModel(config)
