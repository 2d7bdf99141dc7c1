"""Precisions to convert to: by name, or the same bits everywhere.

Rules are those of `mlx_chatterbox.models.config.QuantizationConfig`: the first that matches a layer
applies. They were chosen by `python -m convert.damage`. On the pocket model each of T3's four
groups (attention, feed-forward, speech head, embeddings) causes about the same error with the same
bits, and the projections hold most of the weights (95 % of the English model): they get few bits,
heads and embeddings more. Each bit less makes the divergence about four times as large. Quantising
F0's last layer alone to 8 bits moves the spectrum by half a dB and saves nothing: it stays float32.
Networks that are needed only to read recordings were measured by `python -m convert.reading`: the
voice encoder, the speaker encoder and the last step of the speech tokenizer are small and stay
float32; the rest of the tokenizer stays float16, as fewer bits change its tokens.

ChatTTS's GPT is treated as T3 is: its projections get few bits, its heads and embeddings more. What
makes sound of hidden states and codes stays float16, and what reads recordings float32. Imports no
network.
"""

from __future__ import annotations

from dataclasses import dataclass

from mlx_chatterbox.models.config import CHATTTS_TYPE, MODEL_TYPE, QuantizationConfig

GROUP_SIZE = 64

# Small layers whose rounding would change a token, a pitch or a voice.
ALWAYS_FLOAT32 = (
    "s3_tokenizer.quantizer.*",
    "s3gen.mel2wav.f0_predictor.*",
    "s3gen.speaker_encoder.*",
    "ve.*",
)
# GPT-2's table of positions, an embedding that lies among the projections (Turbo, Nano).
T3_POSITIONS = "t3.tfmr.model.wpe"
T3_PROJECTIONS = "t3.tfmr.*"
# Heads, embeddings, conditioning.
T3_REST = "t3.*"
FLOW = "s3gen.flow.*"
GPT_PROJECTIONS = "gpt.model.*"
# Heads, embeddings.
GPT_REST = "gpt.*"
# Needed only to read recordings (its codes would change), and the scale of its mel spectra.
DVAE_READING = ("dvae.encoder.*", "dvae.downsample_conv.*", "dvae.quantizer.*", "dvae")
# Needed only to read recordings; every token that fewer bits change is audible in the voice.
SPEECH_TOKENIZER = "s3_tokenizer.*"


@dataclass(frozen=True)
class Recipe:
    """A choice of precisions for all layers.

    Attributes:
        about: a description for help texts.
        dtype: of layers without a rule.
        rules: see `QuantizationConfig`.
    """

    name: str
    about: str
    dtype: str
    rules: tuple[dict, ...] = ()

    @property
    def quantization(self) -> QuantizationConfig:
        """The section of `config.json`."""
        return QuantizationConfig(self.name if self.rules else "", [dict(r) for r in self.rules])


def _bits(layers: str, bits: int, group_size: int = GROUP_SIZE) -> dict:
    return {"layers": layers, "bits": bits, "group_size": group_size}


def _float32(patterns: tuple[str, ...]) -> list[dict]:
    return [{"layers": layers, "dtype": "float32"} for layers in patterns]


def _unquantized(dtype: str = "float16") -> list[dict]:
    """Make the rules of layers that are never quantised.

    The speech tokenizer is float32 if `dtype` is, else float16, also for bfloat16.
    """
    own = "float32" if dtype == "float32" else "float16"
    return [
        *_float32(ALWAYS_FLOAT32),
        {"layers": SPEECH_TOKENIZER, "dtype": own},
    ]


RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe("exact", "float32, bit for bit as the source", "float32"),
        Recipe(
            "balanced",
            "T3's projections in 6 bits, other linear layers and T3's text tables in 8, its "
            "speech tables, convolutions and the speech tokenizer in float16, F0 and voice in "
            "float32",
            "float16",
            (
                *_unquantized(),
                _bits(T3_POSITIONS, 8),
                _bits(T3_PROJECTIONS, 6),
                # Turbo's 50,000 words are a sixth of it; the head is for training alone.
                _bits("t3.text_*", 8),
                _bits(FLOW, 8),
            ),
        ),
        Recipe(
            "small",
            "T3's projections in 4 bits, its heads and embeddings and other linear layers in 8, "
            "convolutions and the speech tokenizer in float16, F0 and voice in float32",
            "float16",
            (
                *_unquantized(),
                _bits(T3_POSITIONS, 8),
                # Groups of 32: a tenth more than 64, and a third less of the error.
                _bits(T3_PROJECTIONS, 4, 32),
                _bits(T3_REST, 8),
                _bits(FLOW, 8),
            ),
        ),
    )
}


CHATTTS_RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        RECIPES["exact"],
        Recipe(
            "balanced",
            "the GPT's projections in 6 bits, its heads and embeddings in 8, decoders and vocoder "
            "in float16, what reads recordings in float32",
            "float16",
            (*_float32(DVAE_READING), _bits(GPT_PROJECTIONS, 6), _bits(GPT_REST, 8)),
        ),
        Recipe(
            "small",
            "the GPT's projections in 4 bits, its heads and embeddings in 8, decoders and vocoder "
            "in float16, what reads recordings in float32",
            "float16",
            (*_float32(DVAE_READING), _bits(GPT_PROJECTIONS, 4, 32), _bits(GPT_REST, 8)),
        ),
    )
}
# By the family of models.
RECIPES_OF = {MODEL_TYPE: RECIPES, CHATTTS_TYPE: CHATTTS_RECIPES}


def uniform(
    bits: int, group_size: int = GROUP_SIZE, dtype: str = "float16", family: str = MODEL_TYPE
) -> Recipe:
    """Make a recipe with the same bits for all linear layers and embeddings that may be quantised.

    Args:
        dtype: of the other tensors.
        family: model type of the checkpoint.
    """
    name = f"{bits}bit"
    about = f"linear layers and embeddings in {bits} bits, groups of {group_size}"
    if family == CHATTTS_TYPE:
        own = [*_float32(DVAE_READING), _bits(GPT_REST, bits, group_size)]
    else:
        own = [*_unquantized(dtype), *(_bits(of, bits, group_size) for of in (T3_REST, FLOW))]
    return Recipe(name, about, dtype, tuple(own))


def plain(dtype: str) -> Recipe:
    """Make a recipe with one floating-point type for all tensors."""
    return Recipe(dtype, f"everything in {dtype}", dtype)
