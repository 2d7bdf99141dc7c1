"""Hyperparameters of T3, the text-to-speech-token transformer.

Source: upstream `models/t3/modules/t3_config.py` and `models/t3/llama_configs.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ...config_base import Config
from ...errors import CheckpointError


def llama3_rope_scaling() -> dict[str, Any]:
    """Rotary scaling of `Llama_520M`."""
    return {
        "factor": 8.0,
        "high_freq_factor": 4.0,
        "low_freq_factor": 1.0,
        "original_max_position_embeddings": 8192,
        "rope_type": "llama3",
    }


BACKBONES = ("llama", "gpt2")


@dataclass
class T3Config(Config):
    """T3 at full size, English. Names are upstream's where upstream has one.

    The Llama models embed positions of text and speech, resample their prompt by a perceiver, hear
    an emotion, and are guided; the GPT-2 ones (Turbo, Nano) do none of it, and their backbone has
    positions of its own.
    """

    backbone: str = "llama"
    text_tokens_dict_size: int = 704
    start_text_token: int = 255
    stop_text_token: int = 0
    max_text_tokens: int = 2048

    speech_tokens_dict_size: int = 8194
    start_speech_token: int = 6561
    stop_speech_token: int = 6562
    max_speech_tokens: int = 4096
    speech_cond_prompt_len: int = 150

    speaker_embed_size: int = 256
    perceiver_queries: int = 32
    perceiver_heads: int = 4

    hidden_size: int = 1024
    intermediate_size: int = 4096
    num_hidden_layers: int = 30
    num_attention_heads: int = 16
    head_dim: int = 64
    norm_eps: float = 1e-5
    max_position_embeddings: int = 131072
    rope_theta: float = 500000.0
    rope_scaling: dict = field(default_factory=llama3_rope_scaling)

    def __post_init__(self):
        if self.backbone not in BACKBONES:
            raise CheckpointError(f"T3 backbone {self.backbone!r} is none of {BACKBONES}.")

    @property
    def hears_prompt(self) -> bool:
        """Whether it is told the reference's beginning; small models may know the speaker alone."""
        return self.speech_cond_prompt_len > 0

    @property
    def is_gpt2(self) -> bool:
        """Whether this is a Turbo or Nano T3."""
        return self.backbone == "gpt2"


def gpt2_config(hidden_size: int, num_hidden_layers: int, num_attention_heads: int) -> T3Config:
    """T3 of Turbo (1024, 24, 16) and Nano (768, 12, 12)."""
    return T3Config(
        backbone="gpt2",
        text_tokens_dict_size=50276,
        speech_tokens_dict_size=6563,
        speech_cond_prompt_len=375,
        hidden_size=hidden_size,
        intermediate_size=4 * hidden_size,
        num_hidden_layers=num_hidden_layers,
        num_attention_heads=num_attention_heads,
        head_dim=hidden_size // num_attention_heads,
        max_position_embeddings=8196,
    )
