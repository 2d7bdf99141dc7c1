"""The rules that translate upstream's keys and tensors to ours, as data.

Upstream's files hold weight norm as magnitude and direction, in either of PyTorch's two spellings;
it becomes one weight. Convolutions change from PyTorch's layout to MLX's, channels last; GPT-2's
linear layers, which Hugging Face stores as (in, out), become (out, in). Keys that no network of
ours has are dropped by name; a key without a rule is an error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from mlx_chatterbox.weights.variants import Variant, variant_named

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]

# Operations on a tensor, as permutations of its axes from PyTorch's layout to MLX's.
OPERATIONS: dict[str, Shape | None] = {
    "copy": None,
    "zeros": None,  # of the source's type; the source's values are not read
    "transpose": (1, 0),  # (in, out) -> (out, in)
    "conv1d": (0, 2, 1),  # (O, I, K) -> (O, K, I)
    "conv2d": (0, 2, 3, 1),  # (O, I, H, W) -> (O, H, W, I)
    "conv_transpose1d": (1, 2, 0),  # (I, O, K) -> (O, K, I)
}

# The two spellings of weight norm: endings of the magnitude (O, 1, ..) and of the direction.
WEIGHT_NORM_SPELLINGS: dict[str, tuple[str, str]] = {
    "parametrizations": (
        ".parametrizations.weight.original0",
        ".parametrizations.weight.original1",
    ),
    "g_v": (".weight_g", ".weight_v"),
}

# Layers that upstream weight-normalises; needed only to convert back to upstream's files.
WEIGHT_NORMED = re.compile(
    r"mel2wav\.(conv_pre|conv_post|ups\.\d+|f0_predictor\.condnet\.\d+"
    r"|(source_)?resblocks\.\d+\.convs[12]\.\d+)\.weight"
)


@dataclass(frozen=True)
class Drop:
    """Keys that are dropped on purpose: a pattern for the whole key, and the reason."""

    pattern: str
    reason: str


@dataclass(frozen=True)
class FileRules:
    """The rules of one of upstream's files.

    Attributes:
        prefixes: of keys, as pairs (upstream's, ours).
        drops: keys that are not converted.
        operations: a pattern for the whole key, a number of dimensions, and the operation for
            both; the first that matches applies, and if none does the tensor is copied.
        renames: patterns within our keys and their replacements, applied in order.
    """

    prefixes: tuple[tuple[str, str], ...]
    drops: tuple[Drop, ...]
    operations: tuple[tuple[str, int, str], ...] = ()
    renames: tuple[tuple[str, str], ...] = ()


T3_PARTS = (
    "cond_enc",
    *("text_emb", "speech_emb", "text_pos_emb", "speech_pos_emb"),
    *("text_head", "speech_head"),
)

# By the attribute of `Variant` that names the file.
RULES: dict[str, FileRules] = {
    "voice_encoder_file": FileRules(
        prefixes=(("lstm.", "ve.lstm."), ("proj.", "ve.proj.")),
        drops=(Drop(r"similarity_(weight|bias)", "used in the voice encoder's training only"),),
    ),
    "t3_file": FileRules(
        prefixes=(
            ("tfmr.", "t3.tfmr.model."),
            *((f"{part}.", f"t3.{part}.") for part in T3_PARTS),
        ),
        drops=(
            Drop(r"tfmr\.(embed_tokens|wte)\.weight", "never used: T3 embeds its tokens by itself"),
            Drop(r".*\.rotary_emb\.inv_freq", "computed from the configuration"),
            Drop(r"tfmr\.h\.\d+\.attn\.(bias|masked_bias)", "the causal mask, computed"),
        ),
        operations=(
            (r"tfmr\.h\.\d+\.(attn\.c_attn|(attn|mlp)\.c_proj|mlp\.c_fc)\.weight", 2, "transpose"),
        ),
    ),
    "s3gen_file": FileRules(
        prefixes=(
            ("tokenizer.encoder.", "s3_tokenizer.encoder."),
            # MLX takes names with a leading underscore for buffers, not parameters.
            ("tokenizer.quantizer._codebook.", "s3_tokenizer.quantizer.codebook."),
            ("flow.", "s3gen.flow."),
            ("mel2wav.", "s3gen.mel2wav."),
            ("speaker_encoder.", "s3gen.speaker_encoder."),
        ),
        drops=(
            Drop(r"tokenizer\.(_mel_filters|window|freqs_cis)", "computed, not stored"),
            Drop(r"(mel2wav\.stft_window|trim_fade)", "computed, not stored"),
            Drop(r".*\.num_batches_tracked", "counts training steps only"),
        ),
        operations=(
            (r"mel2wav\.ups\.\d+\.weight", 3, "conv_transpose1d"),
            (r".*\.weight", 3, "conv1d"),
            (r".*\.weight", 4, "conv2d"),
        ),
    ),
}


@dataclass(frozen=True)
class PlanEntry:
    """One tensor of ours and its origin.

    Attributes:
        target: our key.
        sources: keys in `file`; two of them are the magnitude and the direction of weight norm.
        operation: a name of `OPERATIONS`, applied after weight norm is folded.
        shape: of the target, in MLX's layout.
    """

    target: str
    file: str
    sources: tuple[str, ...]
    operation: str
    shape: Shape


@dataclass(frozen=True)
class Dropped:
    """A key of `file` that has no place in our networks."""

    file: str
    key: str
    reason: str


@dataclass(frozen=True)
class ConversionPlan:
    """The conversion of every key of a checkpoint."""

    entries: tuple[PlanEntry, ...]
    dropped: tuple[Dropped, ...]


def file_rules(variant: Variant | str) -> dict[str, FileRules]:
    """Return the rules of each weight file of `variant`, by file name."""
    if isinstance(variant, str):
        variant = variant_named(variant)
    return {getattr(variant, role): rules for role, rules in RULES.items()}


def operation_on(key: str, rank: int, rules: FileRules) -> str:
    """Choose the operation for upstream's `key` (weight norm folded) with `rank` dimensions."""
    for pattern, dimensions, operation in rules.operations:
        if rank == dimensions and re.fullmatch(pattern, key):
            return operation
    return "copy"


def permuted(shape: Shape, operation: str, inverse: bool = False) -> Shape:
    """Permute a shape as `operation` does, or undo that if `inverse`."""
    axes = axes_of(operation, inverse)
    return tuple(shape) if axes is None else tuple(shape[axis] for axis in axes)


def axes_of(operation: str, inverse: bool = False) -> Shape | None:
    """Return the permutation of `operation`, or its inverse; None if it permutes nothing."""
    axes = OPERATIONS[operation]
    if axes is None or not inverse:
        return axes
    return tuple(axes.index(axis) for axis in range(len(axes)))
