"""The members of the family as rows of data: where each one's files are, and its sizes.

A variant differs from another by what stands here and in its `config.json`, never by code of its
own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .config import ModelConfig
from .errors import CheckpointError


@dataclass(frozen=True)
class Variant:
    """One published model: `repo` on the hub and the files that make it up."""

    name: str
    repo: str
    t3_file: str
    s3gen_file: str
    voice_encoder_file: str
    tokenizer_files: tuple[str, ...]
    voice_file: str
    default_config: Callable[[], ModelConfig]

    @property
    def required_files(self) -> tuple[str, ...]:
        """Files without which the variant cannot be converted."""
        weights = (self.voice_encoder_file, self.t3_file, self.s3gen_file)
        return weights + self.tokenizer_files


VARIANTS: dict[str, Variant] = {
    "english": Variant(
        name="english",
        repo="ResembleAI/chatterbox",
        t3_file="t3_cfg.safetensors",
        s3gen_file="s3gen.safetensors",
        voice_encoder_file="ve.safetensors",
        tokenizer_files=("tokenizer.json",),
        voice_file="conds.pt",
        default_config=lambda: ModelConfig(variant="english"),
    ),
}


def variant_named(name: str) -> Variant:
    """The variant called `name`.

    Raises:
        CheckpointError: there is none.
    """
    if name not in VARIANTS:
        raise CheckpointError(f"unknown variant {name!r}; known are {', '.join(VARIANTS)}.")
    return VARIANTS[name]
