"""`config.json`: everything needed to build a model's networks, and where its weights came from."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .config_base import Config
from .errors import CheckpointError
from .models.s3gen.config import S3GenConfig
from .models.s3tokenizer.config import S3TokenizerConfig
from .models.t3.config import T3Config
from .models.voice_encoder.config import VoiceEncoderConfig
from .shards import refuse_pointer

CONFIG_NAME = "config.json"
MODEL_TYPE = "chatterbox"
DTYPES = ("float32", "float16", "bfloat16")
BITS = (3, 4, 6, 8)
GROUP_SIZES = (32, 64, 128)


@dataclass
class TextConfig(Config):
    """How text becomes tokens.

    Attributes:
        tokenizer: "english", "multilingual" or "gpt2".
        punctuation: style of `punc_norm`: "english", "multilingual" or "turbo".
        preprocessing: of the multilingual tokenizer; upstream's is "lower,nfkd".
        lexicon: of the English tokenizer: the checkpoint has a pronouncing dictionary, and its
            tokens are phones (`text/lexicon.py`).
        normalize: numbers, abbreviations and signs are written out in words first
            (`text/spoken/`), unless the caller says otherwise.
        languages: codes that the multilingual tokenizer knows beyond its 23, learnt by fine-tuning.
    """

    tokenizer: str = "english"
    punctuation: str = "english"
    preprocessing: str = "lower,nfkd"
    lexicon: bool = False
    normalize: bool = False
    languages: list[str] = field(default_factory=list)


@dataclass
class GenerationConfig(Config):
    """Settings that a model is at its best with; upstream's defaults.

    Attributes:
        sampler_order: "penalty_first" (repetition penalty, temperature, min-p, top-p) or
            "penalty_last" (temperature, top-k, top-p, repetition penalty).
        drop_last_token: the last token's 40 ms are noise and cut off.
        silence_tokens: how many tokens of silence follow.
        loudness_lufs: references are brought to this loudness; None leaves them.
        min_reference_seconds: references must be longer.
        t3_prompt_seconds: how much of the reference T3 hears.
        longest_piece: characters that the model can say at once; longer texts are said in pieces,
            cut at sentences and clauses. 0: all at once.
        watermark: speech is marked as made by a machine.
        seconds_per_letter: how slowly the model speaks, by which guards tell how long a text can
            take (`guards.py`).
    """

    temperature: float = 0.8
    repetition_penalty: float = 1.2
    min_p: float = 0.05
    top_p: float = 1.0
    top_k: int = 0
    cfg_weight: float = 0.5
    exaggeration: float = 0.5
    max_new_tokens: int = 1000
    cfm_steps: int = 10
    sampler_order: str = "penalty_first"
    drop_last_token: bool = False
    silence_tokens: int = 0
    loudness_lufs: float | None = None
    min_reference_seconds: float = 0.5
    t3_prompt_seconds: int = 6
    longest_piece: int = 0
    watermark: bool = True
    seconds_per_letter: float = 0.075


@dataclass
class PackingConfig(Config):
    """Weights that are stored in few bits and unpacked when they are read (`packing.py`).

    Attributes:
        bits: of a number; 0: nothing is packed.
        group_size: numbers that share a scale and an offset.
    """

    bits: int = 0
    group_size: int = 64


@dataclass
class QuantizationConfig(Config):
    """What is not simply of the model's `dtype` (`quantization.py`).

    Attributes:
        recipe: the name it was asked for by, for people; loading follows the rules alone.
        rules: for each layer the first counts whose `layers`, a pattern with `*` for a layer's
            whole path, fits: `{"layers": "t3.tfmr.*", "bits": 4, "group_size": 64}`, or
            `{"layers": "ve.*", "dtype": "float32"}`. With bits, `dtype` is that of what stays
            floating-point in these layers.
    """

    recipe: str = ""
    rules: list[dict] = field(default_factory=list)

    def __post_init__(self):
        if not isinstance(self.rules, list):
            raise CheckpointError(f"{CONFIG_NAME}: quantization.rules is no list.")
        for rule in self.rules:
            if problem := _problem_of(rule):
                raise CheckpointError(f"{CONFIG_NAME}: quantization rule {rule!r}: {problem}.")


def _problem_of(rule: object) -> str:
    if not isinstance(rule, dict) or not isinstance(rule.get("layers"), str):
        return "it names no layers"
    unknown = sorted(set(rule) - {"layers", "bits", "group_size", "dtype"})
    if unknown:
        return f"unknown key(s) {', '.join(unknown)}"
    if rule.get("dtype", DTYPES[0]) not in DTYPES:
        return f"dtype is none of {', '.join(DTYPES)}"
    if ("bits" in rule) != ("group_size" in rule):
        return "bits and group_size go together"
    if "bits" in rule and rule["bits"] not in BITS:
        return f"bits are none of {', '.join(map(str, BITS))}"
    if "group_size" in rule and rule["group_size"] not in GROUP_SIZES:
        return f"group_size is none of {', '.join(map(str, GROUP_SIZES))}"
    return ""


@dataclass
class ModelConfig(Config):
    """A whole model. `source` says where the weights came from (folder or repository, hashes)."""

    variant: str = "english"
    dtype: str = "float32"
    t3: T3Config = field(default_factory=T3Config)
    s3gen: S3GenConfig = field(default_factory=S3GenConfig)
    s3_tokenizer: S3TokenizerConfig = field(default_factory=S3TokenizerConfig)
    voice_encoder: VoiceEncoderConfig = field(default_factory=VoiceEncoderConfig)
    text: TextConfig = field(default_factory=TextConfig)
    generation: GenerationConfig = field(default_factory=GenerationConfig)
    packing: PackingConfig = field(default_factory=PackingConfig)
    quantization: QuantizationConfig = field(default_factory=QuantizationConfig)
    source: dict = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return {"model_type": MODEL_TYPE, **super().to_dict()}

    @classmethod
    def load(cls, folder: str | Path) -> ModelConfig:
        """Read `config.json` of a checkpoint folder.

        Raises:
            CheckpointError: no such file, not JSON, another model type, or an unknown key.
        """
        path = Path(folder) / CONFIG_NAME
        refuse_pointer(path)
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise CheckpointError(
                f"{path} is missing: {folder} is no converted checkpoint."
            ) from None
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path} cannot be read: {error}.") from None
        if not isinstance(values, dict) or values.pop("model_type", None) != MODEL_TYPE:
            raise CheckpointError(f'{path} does not say "model_type": "{MODEL_TYPE}".')
        config = cls.from_dict(values)
        if config.dtype not in DTYPES:
            raise CheckpointError(f"{path}: dtype {config.dtype!r} is none of {', '.join(DTYPES)}.")
        if config.packing.bits and config.quantization.rules:
            raise CheckpointError(f"{path}: a model is packed or quantised, not both.")
        return config

    def save(self, folder: str | Path) -> Path:
        """Write `config.json` into `folder`, whole or not at all."""
        path = Path(folder) / CONFIG_NAME
        temporary = path.with_name(path.name + ".tmp")
        temporary.write_text(json.dumps(self.to_dict(), indent=2) + "\n", encoding="utf-8")
        os.replace(temporary, path)
        return path
