"""The table of variants: the files of each model, and its default configuration.

Variants differ only by their rows here and by their `config.json`, never by code of their own.
Files and repositories are upstream's (`tts.py`, `mtl_tts.py`, `tts_turbo.py`, and
`chatterbox_flash/tts.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..errors import CheckpointError
from ..models.config import GenerationConfig, ModelConfig, TextConfig
from ..models.s3gen.config import S3GenConfig
from ..models.t3.config import T3Config, gpt2_config
from ..text.files import (
    ADDED,
    CANGJIE_FILE,
    ENGLISH_FILE,
    MERGES,
    MULTILINGUAL_FILE,
    SETTINGS,
    SPECIAL,
    VOCABULARY,
    WHOLE,
)


@dataclass(frozen=True)
class Variant:
    """One published model: `repo` on the hub and the files that make it up.

    Attributes:
        optional_files: tokenizer files that a folder may lack.
        size: of the download, for help texts.
        has_voice: False for one that is published without a voice.
    """

    name: str
    repo: str
    t3_file: str
    s3gen_file: str
    voice_encoder_file: str
    tokenizer_files: tuple[str, ...]
    default_config: Callable[[], ModelConfig]
    optional_files: tuple[str, ...] = ()
    voice_file: str = "conds.pt"
    size: str = "3 GB"
    has_voice: bool = True

    @property
    def weight_files(self) -> tuple[str, ...]:
        """Files with tensors."""
        return (self.voice_encoder_file, self.t3_file, self.s3gen_file)

    @property
    def required_files(self) -> tuple[str, ...]:
        """Files without which the variant cannot be converted."""
        return self.weight_files + self.tokenizer_files


def _multilingual(name: str, t3_file: str, repo: str = "ResembleAI/chatterbox") -> Variant:
    def config() -> ModelConfig:
        return ModelConfig(
            variant=name,
            t3=T3Config(text_tokens_dict_size=2454),
            text=TextConfig(tokenizer="multilingual", punctuation="multilingual"),
            generation=GenerationConfig(drop_last_token=True),
        )

    return Variant(
        name=name,
        repo=repo,
        t3_file=t3_file,
        s3gen_file="s3gen.pt",
        voice_encoder_file="ve.pt",
        tokenizer_files=(MULTILINGUAL_FILE,),
        optional_files=(CANGJIE_FILE,),
        default_config=config,
    )


def _turbo(name: str, repo: str, t3_file: str, size: str, **t3) -> Variant:
    def config() -> ModelConfig:
        return ModelConfig(
            variant=name,
            t3=gpt2_config(**t3),
            s3gen=S3GenConfig(meanflow=True),
            text=TextConfig(tokenizer="gpt2", punctuation="turbo"),
            generation=GenerationConfig(
                min_p=0.0,
                top_p=0.95,
                top_k=1000,
                cfg_weight=0.0,
                exaggeration=0.0,
                max_new_tokens=1001,
                cfm_steps=2,
                sampler_order="penalty_last",
                silence_tokens=3,
                loudness_lufs=-27.0,
                min_reference_seconds=5.0,
                t3_prompt_seconds=15,
            ),
        )

    return Variant(
        name=name,
        repo=repo,
        t3_file=t3_file,
        s3gen_file="s3gen_meanflow.safetensors",
        voice_encoder_file="ve.safetensors",
        tokenizer_files=(VOCABULARY, MERGES),
        optional_files=(ADDED, SPECIAL, SETTINGS, WHOLE),
        default_config=config,
        size=size,
    )


def _flash() -> ModelConfig:
    """Make Flash's configuration: English with a mask, decoded in blocks, and Turbo's S3Gen.

    Settings are those of upstream's later scripts and of the paper, not those that its package
    0.1.0 has as defaults (temperature 0.6, `time_shift_tau` 0.1); no token is penalised or cut off.
    """
    return ModelConfig(
        variant="flash",
        t3=T3Config(has_mask=True),
        s3gen=S3GenConfig(meanflow=True),
        text=TextConfig(punctuation="flash", normalize=True),
        generation=GenerationConfig(
            temperature=0.2, repetition_penalty=1.0, min_p=0.0, cfg_weight=1.0, cfm_steps=2
        ),
    )


_ROWS = (
    Variant(
        name="english",
        repo="ResembleAI/chatterbox",
        t3_file="t3_cfg.safetensors",
        s3gen_file="s3gen.safetensors",
        voice_encoder_file="ve.safetensors",
        tokenizer_files=(ENGLISH_FILE,),
        default_config=lambda: ModelConfig(variant="english"),
    ),
    _multilingual("multilingual", "t3_mtl23ls_v3.safetensors"),
    _multilingual("multilingual-v2", "t3_mtl23ls_v2.safetensors"),
    _turbo(
        "turbo",
        "ResembleAI/chatterbox-turbo",
        "t3_turbo_v1.safetensors",
        "3 GB",
        hidden_size=1024,
        num_hidden_layers=24,
        num_attention_heads=16,
    ),
    _turbo(
        "nano",
        "ResembleAI/chatterbox-nano",
        "t3_nano_v1.safetensors",
        "2 GB",
        hidden_size=768,
        num_hidden_layers=12,
        num_attention_heads=12,
    ),
    Variant(
        name="flash",
        repo="ResembleAI/chatterbox-flash",
        t3_file="t3_flash.safetensors",
        s3gen_file="s3gen.safetensors",
        voice_encoder_file="ve.safetensors",
        tokenizer_files=(ENGLISH_FILE,),
        default_config=_flash,
        has_voice=False,
    ),
)

VARIANTS: dict[str, Variant] = {row.name: row for row in _ROWS}


def variant_named(name: str) -> Variant:
    """Look up a variant.

    Raises:
        CheckpointError: there is none of this name.
    """
    if name not in VARIANTS:
        raise CheckpointError(f"unknown variant {name!r}; known are {', '.join(VARIANTS)}.")
    return VARIANTS[name]
