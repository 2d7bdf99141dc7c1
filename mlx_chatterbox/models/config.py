"""`config.json`: everything needed to build a model's networks, and where its weights came from."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from ..checks.config_base import MAX_SIZE, Config, need
from ..checks.json_file import read_json
from ..checks.plain import shown
from ..errors import CheckpointError
from ..runtime.own_files import write_whole
from .s3gen.config import MAX_CFM_STEPS, S3GenConfig
from .s3tokenizer.config import S3TokenizerConfig
from .t3.config import T3Config
from .voice_encoder.config import VoiceEncoderConfig

CONFIG_NAME = "config.json"
MODEL_TYPE = "chatterbox"
CHATTTS_TYPE = "chattts"
# Names of the families of models, by the model types of their checkpoints.
FAMILIES = {MODEL_TYPE: "Chatterbox", CHATTTS_TYPE: "ChatTTS"}
DTYPES = ("float32", "float16", "bfloat16")
BITS = (3, 4, 6, 8)
GROUP_SIZES = (32, 64, 128)
# Bits of packed weights; 0: none are packed.
PACKED_BITS = (0, 2, 3, 4, 5, 6, 8)
# Upstream has 3.
MAX_SILENCE_TOKENS = 250
# Upstream's token of silence (`models/s3gen/const.py`).
SILENCE_TOKEN = 4299
# Flash was trained with blocks of 32 tokens.
MAX_BLOCK, MAX_BLOCK_STEPS = 1024, 1000


@dataclass
class TextConfig(Config):
    """Settings by which text becomes tokens.

    Attributes:
        tokenizer: "english", "multilingual" or "gpt2".
        punctuation: style of `punc_norm`: "english", "multilingual", "turbo", "flash" or
            "unchanged".
        preprocessing: of the multilingual tokenizer; upstream's is "lower,nfkd".
        lexicon: of the English tokenizer: the checkpoint has a pronouncing dictionary, and its
            tokens are phones (`text/lexicon.py`).
        normalize: numbers, abbreviations and signs are written out in words first
            (`text/spoken/`), unless the caller says otherwise.
        languages: codes that the multilingual tokenizer knows beyond its 23, learnt by fine-tuning.
    """

    CHOICES: ClassVar = {
        "tokenizer": ("english", "multilingual", "gpt2"),
        "punctuation": ("english", "multilingual", "turbo", "flash", "unchanged"),
    }

    tokenizer: str = "english"
    punctuation: str = "english"
    preprocessing: str = "lower,nfkd"
    lexicon: bool = False
    normalize: bool = False
    languages: list[str] = field(default_factory=list)


@dataclass
class GenerationConfig(Config):
    """The settings that suit a model best; by default upstream's.

    Attributes:
        sampler_order: "penalty_first" (repetition penalty, temperature, min-p, top-p) or
            "penalty_last" (temperature, top-k, top-p, repetition penalty).
        drop_last_token: the last token's 40 ms are noise and cut off.
        silence_tokens: number of tokens of silence that are appended.
        loudness_lufs: references are brought to this loudness; None leaves them.
        min_reference_seconds: references must be longer.
        t3_prompt_seconds: length of the reference that T3 is conditioned on.
        longest_piece: characters that the model can speak at once; longer texts are spoken in
            pieces, cut at sentences and clauses. 0: all at once.
        watermark: speech is marked as made by a machine.
        seconds_per_letter: the model's pace, by which guards estimate how long a text can take
            (`synthesis/monitor.py`).
    """

    MAY_BE_ZERO: ClassVar = frozenset(
        {"top_k", "silence_tokens", "t3_prompt_seconds", "longest_piece"}
    )
    CHOICES: ClassVar = {"sampler_order": ("penalty_first", "penalty_last")}

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

    def __post_init__(self):
        need(
            "a model",
            cfm_steps=self.cfm_steps <= MAX_CFM_STEPS,
            silence_tokens=self.silence_tokens <= MAX_SILENCE_TOKENS,
            loudness_lufs=self.loudness_lufs is None or -70 <= self.loudness_lufs <= 0,
            min_reference_seconds=0 <= self.min_reference_seconds <= 3600,
            t3_prompt_seconds=self.t3_prompt_seconds <= 3600,
            seconds_per_letter=0 < self.seconds_per_letter <= 60,
        )


@dataclass
class BlockConfig(Config):
    """The settings that suit a model best that decodes block by block (`T3Config.has_mask`).

    Attributes:
        size: tokens of a block.
        num_steps: most passes for a block, in each of which some of its tokens are decided.
        time_shift_tau: above 0 more tokens are decided early, and a block takes fewer passes.
        schedule_t_shift: below 1 fewer tokens are decided in the first passes, more in the last; 0
            shares them out evenly.
        position_temperature: size of the noise by which the positions to decide are chosen; 0:
            none. Upstream takes every other value, its default of 5 too, for 1.
    """

    size: int = 16
    num_steps: int = 10
    time_shift_tau: float = 0.5
    schedule_t_shift: float = 0.5
    position_temperature: float = 1.0

    def __post_init__(self):
        need(
            "blocks",
            size=self.size <= MAX_BLOCK,
            num_steps=self.num_steps <= MAX_BLOCK_STEPS,
            time_shift_tau=0 <= self.time_shift_tau <= MAX_SIZE,
            schedule_t_shift=0 <= self.schedule_t_shift <= MAX_SIZE,
            position_temperature=0 <= self.position_temperature <= MAX_SIZE,
        )


@dataclass
class FineTuningConfig(Config):
    """Defaults of fine-tuning: those that the model was trained with.

    Clips are brought to the loudness of references, `GenerationConfig.loudness_lufs`.

    Attributes:
        learning_rate: the highest one for all weights; adapters do not ask for it.
        trim_silence: recordings are cut to their speech.
        trim_margin_s: seconds of silence that stay before and after it.
        speech_lufs: how loud the speech was that the model was trained on, least and most, where
            it does not understand other loudness; null where it does, or that is unknown.
        text_dropout: share of T3's samples without text; see `train.sections`.
        token_noise: share of the tokens replaced that T3 sees as its own.
        condition_dropout: share of the flow's samples without condition.
        start_share: share of the flow's samples at its very start, time 0.
        loss_weights: for each component, weights of the parts of its loss that are not 1.
    """

    learning_rate: float = 5e-5
    trim_silence: bool = True
    trim_margin_s: float = 0.1
    speech_lufs: list[float] | None = None
    text_dropout: float = 0.1
    token_noise: float = 0.0
    condition_dropout: float = 0.2
    start_share: float = 0.0
    loss_weights: dict = field(default_factory=dict)

    MAY_BE_ZERO: ClassVar = frozenset(
        {"trim_margin_s", "text_dropout", "token_noise", "condition_dropout", "start_share"}
    )

    def __post_init__(self):
        level, weights = self.speech_lufs, self.loss_weights.values()
        need(
            "fine_tuning",
            learning_rate=0 < self.learning_rate <= 1,
            trim_margin_s=0 <= self.trim_margin_s <= 5,
            speech_lufs=level is None or (len(level) == 2 and -70 <= level[0] < level[1] <= 0),
            text_dropout=0 <= self.text_dropout <= 1,
            token_noise=0 <= self.token_noise <= 1,
            condition_dropout=0 <= self.condition_dropout <= 1,
            start_share=0 <= self.start_share <= 1,
            loss_weights=all(isinstance(parts, dict) and _are_weights(parts) for parts in weights),
        )


def _are_weights(parts: dict) -> bool:
    values = parts.values()
    return all(type(value) in (int, float) and 0 <= value < math.inf for value in values)


@dataclass
class PackingConfig(Config):
    """Weights that are stored in few bits and unpacked when they are read (`weights/packing.py`).

    Attributes:
        bits: of a number; 0: nothing is packed.
        group_size: numbers that share a scale and an offset.
    """

    MAY_BE_ZERO: ClassVar = frozenset({"bits"})
    CHOICES: ClassVar = {"bits": PACKED_BITS, "group_size": GROUP_SIZES}

    bits: int = 0
    group_size: int = 64


@dataclass
class QuantizationConfig(Config):
    """Layers that are quantized or of another `dtype` (`weights/quantization.py`).

    Attributes:
        recipe: the name of the recipe, for people; loading follows the rules alone.
        rules: for each layer the first counts whose `layers`, a pattern with `*` for a layer's
            whole path, fits: `{"layers": "t3.tfmr.*", "bits": 4, "group_size": 64}`, or
            `{"layers": "ve.*", "dtype": "float32"}`. With bits, `dtype` is that of what stays
            floating-point in these layers.
    """

    recipe: str = ""
    rules: list[dict] = field(default_factory=list)

    def __post_init__(self):
        if not isinstance(self.rules, list):
            raise CheckpointError(f"{CONFIG_NAME}: quantization.rules is not a list.")
        for rule in self.rules:
            if problem := _problem_of(rule):
                raise CheckpointError(f"{CONFIG_NAME}: quantization rule {shown(rule)}: {problem}.")


def _problem_of(rule: object) -> str:
    if not isinstance(rule, dict) or not isinstance(rule.get("layers"), str):
        return "it names no layers"
    unknown = sorted(set(rule) - {"layers", "bits", "group_size", "dtype"})
    if unknown:
        return f"unknown key(s) {shown(unknown)}"
    if rule.get("dtype", DTYPES[0]) not in DTYPES:
        return f"dtype is none of {', '.join(DTYPES)}"
    if ("bits" in rule) != ("group_size" in rule):
        return "bits and group_size go together"
    if "bits" in rule and rule["bits"] not in BITS:
        return f"bits are none of {', '.join(map(str, BITS))}"
    if "group_size" in rule and rule["group_size"] not in GROUP_SIZES:
        return f"group_size is none of {', '.join(map(str, GROUP_SIZES))}"
    return ""


AnyCheckpoint = TypeVar("AnyCheckpoint", bound="CheckpointConfig")


class CheckpointConfig(Config):
    """Base of the configurations of whole models, one a family, as `config.json` holds them.

    Attributes:
        MODEL_TYPE: of the family, a key of `FAMILIES`.
        variant: of the family's models.
        dtype: of floating-point weights without a rule in `quantization`.
        source: where the weights came from (folder or repository, hashes).
    """

    MODEL_TYPE: ClassVar[str]

    variant: str
    dtype: str
    quantization: QuantizationConfig
    source: dict

    def to_dict(self) -> dict[str, Any]:
        return {"model_type": self.MODEL_TYPE, **super().to_dict()}

    @classmethod
    def load(cls: type[AnyCheckpoint], folder: str | Path) -> AnyCheckpoint:
        """Read `config.json` of a checkpoint folder.

        Raises:
            CheckpointError: no such file, not JSON, another model type, an unknown key, or values
                that no model can have.
        """
        path = Path(folder) / CONFIG_NAME
        if not path.exists():
            raise CheckpointError(f"{path} is missing: {folder} is not a converted checkpoint.")
        values = read_json(path)
        kind = values.pop("model_type", None)
        if kind != cls.MODEL_TYPE:
            if isinstance(kind, str) and kind in FAMILIES:
                raise CheckpointError(
                    f"{folder} holds {FAMILIES[kind]}; this takes {FAMILIES[cls.MODEL_TYPE]} alone."
                )
            raise CheckpointError(f'{path} does not say "model_type": "{cls.MODEL_TYPE}".')
        try:
            config = cls.from_dict(values)
            config.check_parts()
        except CheckpointError as error:
            raise CheckpointError(f"{path}: {error}") from None
        return config

    def check_parts(self) -> None:
        """Raise CheckpointError unless the parts fit together."""

    def save(self, folder: str | Path) -> Path:
        """Write `config.json` into `folder`, whole or not at all."""
        path = Path(folder) / CONFIG_NAME
        write_whole(path, json.dumps(self.to_dict(), indent=2) + "\n", clean=True)
        return path


@dataclass
class ModelConfig(CheckpointConfig):
    """A whole Chatterbox.

    Attributes:
        blocks: of a model that decodes block by block; others have no use for it.
    """

    MODEL_TYPE: ClassVar = MODEL_TYPE
    CHOICES: ClassVar = {"dtype": DTYPES}

    variant: str = "english"
    dtype: str = "float32"
    t3: T3Config = field(default_factory=T3Config)
    s3gen: S3GenConfig = field(default_factory=S3GenConfig)
    s3_tokenizer: S3TokenizerConfig = field(default_factory=S3TokenizerConfig)
    voice_encoder: VoiceEncoderConfig = field(default_factory=VoiceEncoderConfig)
    text: TextConfig = field(default_factory=TextConfig)
    generation: GenerationConfig = field(default_factory=GenerationConfig)
    blocks: BlockConfig = field(default_factory=BlockConfig)
    fine_tuning: FineTuningConfig = field(default_factory=FineTuningConfig)
    packing: PackingConfig = field(default_factory=PackingConfig)
    quantization: QuantizationConfig = field(default_factory=QuantizationConfig)
    source: dict = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """Kind of its class: "flash" where T3 fills in blocks, else the tokenizer's."""
        return "flash" if self.t3.has_mask else self.text.tokenizer

    def to_dict(self) -> dict[str, Any]:
        values = super().to_dict()
        # Left out, so that older versions can read what has nothing to say here.
        if self.fine_tuning == FineTuningConfig():
            del values["fine_tuning"]
        if not self.t3.has_mask:
            del values["t3"]["has_mask"], values["blocks"]
        return values

    def check_parts(self) -> None:
        """Raise CheckpointError unless the sizes of the networks fit together."""
        self.s3gen.check_vocoder()
        codes, speech = self.s3gen.vocab_size, self.t3.speech_tokens_dict_size
        need(
            "a model",
            quantizer_dims=self.s3_tokenizer.codes <= (min(codes, speech)),
            silence_tokens=not self.generation.silence_tokens or codes > SILENCE_TOKEN,
            speaker_embed_size=self.t3.speaker_embed_size == self.voice_encoder.speaker_embed_size,
            tokenizer=(self.text.tokenizer == "gpt2") == self.t3.is_gpt2,
        )
        if self.packing.bits and self.quantization.rules:
            raise CheckpointError("a model is packed or quantised, not both.")
