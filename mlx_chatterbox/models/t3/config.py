"""Hyperparameters of T3, the text-to-speech-token transformer.

Source: upstream `models/t3/modules/t3_config.py` and `models/t3/llama_configs.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ...checks.config_base import MAX_SIZE, Config, divides, need
from ...checks.plain import shown
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
_LLAMA3_SCALING = (
    "factor",
    "high_freq_factor",
    "low_freq_factor",
    "original_max_position_embeddings",
)


@dataclass
class T3Config(Config):
    """T3 at full size, English. Names are upstream's where upstream has one.

    The Llama models embed positions of text and speech, resample their prompt by a perceiver, hear
    an emotion, and are guided; the GPT-2 ones (Turbo, Nano) do none of it, and their backbone has
    positions of its own.

    Attributes:
        has_mask: the table of speech tokens has one more row, for [MASK], which stands for tokens
            that are not decided yet and is never predicted (Flash).
    """

    MAY_BE_ZERO: ClassVar = frozenset(
        {
            "start_text_token",
            "stop_text_token",
            "start_speech_token",
            "stop_speech_token",
            "speech_cond_prompt_len",
        }
    )

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
    has_mask: bool = False

    def __post_init__(self):
        if self.backbone not in BACKBONES:
            raise CheckpointError(f"T3 backbone {shown(self.backbone)} is none of {BACKBONES}.")
        speech = max(self.start_speech_token, self.stop_speech_token)
        need("T3", speech_tokens_dict_size=speech < self.speech_tokens_dict_size)
        need("T3", has_mask=not (self.has_mask and self.is_gpt2))
        if self.is_gpt2:
            need("T3", num_attention_heads=divides(self.hidden_size, self.num_attention_heads))
            return
        text = max(self.start_text_token, self.stop_text_token)
        width = self.hidden_size
        need(
            "T3",
            text_tokens_dict_size=text < self.text_tokens_dict_size,
            speech_cond_prompt_len=self.speech_cond_prompt_len <= self.max_prompt_tokens,
            perceiver_heads=not self.hears_prompt or divides(width, self.perceiver_heads),
            head_dim=divides(self.head_dim, 2)
            and self.head_dim * self.num_attention_heads <= MAX_SIZE,
            rope_theta=self.rope_theta > 0,
            rope_scaling=_is_scaling(self.rope_scaling),
        )

    def layers(self) -> int:
        return self.num_hidden_layers

    @property
    def speech_rows(self) -> int:
        """Rows of the table of speech tokens; with [MASK], the last, one more than there are."""
        return self.speech_tokens_dict_size + self.has_mask

    @property
    def mask_token(self) -> int:
        """[MASK], if there is one: after the vocabulary, so that the head cannot predict it."""
        return self.speech_tokens_dict_size

    @property
    def hears_prompt(self) -> bool:
        """True if it is conditioned on the reference's first tokens, not on the speaker alone."""
        return self.speech_cond_prompt_len > 0

    @property
    def max_prompt_tokens(self) -> int:
        """The most speech tokens of a reference that there are positions for."""
        return self.speech_cond_prompt_len if self.is_gpt2 else self.max_speech_tokens + 4

    @property
    def is_gpt2(self) -> bool:
        """True for the T3 of Turbo and Nano."""
        return self.backbone == "gpt2"


def _is_scaling(values: dict | None) -> bool:
    """Return True if `rope_scaling` has what its type needs; unknown types are refused later."""
    if not values or values.get("rope_type", "default") != "llama3":
        return isinstance(values, dict)
    for name in _LLAMA3_SCALING:
        number = values.get(name)
        # JSON's true is not a number.
        if not isinstance(number, (int, float)) or isinstance(number, bool):
            return False
        if not (math.isfinite(number) and number > 0):
            return False
    return values["high_freq_factor"] > values["low_freq_factor"]


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
