"""The largest accepted distance of a converted model from its source, for each precision.

The bounds are several times what `python -m convert.damage` measures on trained models, so that
they catch a faulty conversion but not the intended rounding. Wherever layers are quantised, the
bound of the speech tokens is that of float16, as the speech tokenizer is not quantised. Imports no
network.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from mlx_chatterbox.models.config import CHATTTS_TYPE, CheckpointConfig


@dataclass(frozen=True)
class Bounds:
    """The largest distances of a model that is published without `--force-upload`.

    Attributes:
        stage: relative RMS of every parity stage's result.
        tokens: share of the reference's speech tokens that come out differently.
        kl: mean Kullback-Leibler divergence of T3's next-token distribution, nats.
        mel: mean absolute difference, dB.
        waveform: relative RMS with the same excitation.
        spectrum: mean difference of the waveforms' mel spectra, dB.
        word_errors: growth of the word error rate (1: all words). Wherever tokens may differ at
            least three words in a hundred, as many as another seed changes.
    """

    stage: float
    tokens: float
    kl: float
    mel: float
    waveform: float
    spectrum: float
    word_errors: float


BOUNDS: dict[str, Bounds] = {
    "float32": Bounds(1e-4, 0.0, 1e-6, 0.01, 1e-4, 0.5, 0.0),
    "float16": Bounds(0.02, 0.02, 0.001, 0.3, 0.05, 2.0, 0.03),
    "bfloat16": Bounds(0.1, 0.05, 0.01, 1.0, 0.2, 3.0, 0.05),
    "8bit": Bounds(0.1, 0.02, 0.005, 0.5, 0.1, 3.0, 0.05),
    "balanced": Bounds(0.15, 0.02, 0.02, 0.5, 0.1, 3.0, 0.05),
    "6bit": Bounds(0.2, 0.02, 0.02, 1.0, 0.2, 4.0, 0.05),
    "small": Bounds(0.3, 0.02, 0.05, 0.5, 0.1, 3.0, 0.05),
    "4bit": Bounds(0.5, 0.02, 0.1, 2.0, 0.4, 5.0, 0.1),
    "3bit": Bounds(0.8, 0.02, 0.4, 4.0, 0.8, 6.0, 0.2),
}

# ChatTTS's, several times what fabricated weights show, as no trained ones were at hand: they tell
# a fault from rounding, not good speech from bad. Of its networks the GPT alone is quantised, so
# `stage` is for its hidden states; the others are held to the bounds of their type. With few bits
# `waveform` is not judged: it is another one of the same spectrum. A code is four digits, any of
# which changes it.
CHATTTS_BOUNDS: dict[str, Bounds] = {
    "float32": BOUNDS["float32"],
    "float16": dataclasses.replace(BOUNDS["float16"], tokens=0.06),
    "bfloat16": dataclasses.replace(BOUNDS["bfloat16"], tokens=0.3),
    "8bit": Bounds(0.1, 0.0, 0.01, 0.7, math.inf, 3.0, 0.05),
    "balanced": Bounds(0.2, 0.0, 0.1, 2.0, math.inf, 4.0, 0.05),
    "6bit": Bounds(0.3, 0.0, 0.2, 3.0, math.inf, 4.0, 0.05),
    "small": Bounds(0.7, 0.0, 1.0, 6.0, math.inf, 6.0, 0.05),
    "4bit": Bounds(0.8, 0.0, 1.5, 7.0, math.inf, 6.0, 0.1),
    "3bit": Bounds(1.1, 0.0, 3.0, 9.0, math.inf, 7.0, 0.2),
}


def bounds_of(config: CheckpointConfig) -> Bounds:
    """Choose the bounds of a model by its family and `precision_name`."""
    table = CHATTTS_BOUNDS if config.MODEL_TYPE == CHATTTS_TYPE else BOUNDS
    return table[precision_name(config)]


def precision_name(config: CheckpointConfig) -> str:
    """Choose the row of `BOUNDS` for a model: that of its recipe, else that of its fewest bits."""
    rules = config.quantization.rules
    recipe = config.quantization.recipe
    if recipe in BOUNDS and rules == _rules_of(recipe, config.MODEL_TYPE):
        return recipe
    bits = [rule["bits"] for rule in rules if "bits" in rule]
    return f"{min(bits)}bit" if bits else config.dtype


def _rules_of(recipe: str, family: str) -> list[dict] | None:
    from .recipes import RECIPES_OF

    row = RECIPES_OF[family].get(recipe)
    return None if row is None else row.quantization.rules
