"""Plans for conversion from upstream's files to ours and back, by names and shapes.

A plan states for every tensor of ours its source and the operation on it; `core` carries it out.
Only `to_upstream`, the inverse conversion, handles tensors here, and importing this module does not
import MLX.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from math import prod
from typing import TYPE_CHECKING

from mlx_chatterbox.errors import CheckpointError
from mlx_chatterbox.weights.variants import Variant, variant_named

from .rules import (
    WEIGHT_NORM_SPELLINGS,
    WEIGHT_NORMED,
    ConversionPlan,
    Dropped,
    FileRules,
    PlanEntry,
    Shape,
    Shapes,
    axes_of,
    file_rules,
    operation_on,
    permuted,
)

if TYPE_CHECKING:
    import mlx.core as mx

TOKENIZER_SAMPLE_RATE = 16000
TOKENIZER_N_FFT = 400
UNUSED_EMBEDDING_ROWS = 8


# --- Forwards: upstream's keys to ours ---------------------------------------------------------


def plan(available: Mapping[str, Shapes], variant: Variant | str) -> ConversionPlan:
    """Plan the conversion of an upstream checkpoint.

    Args:
        available: for each weight file its keys and shapes.
        variant: row of `VARIANTS`, or its name, which states the file of each network.

    Raises:
        CheckpointError: there are keys without a rule, all of which are named, or a weight norm
            whose two halves do not match.
    """
    return plan_by_rules(available, file_rules(variant))


def plan_by_rules(
    available: Mapping[str, Shapes], rules: Mapping[str, FileRules]
) -> ConversionPlan:
    """Plan the conversion of files by the rules of each; arguments and errors as of `plan`."""
    entries: list[PlanEntry] = []
    dropped: list[Dropped] = []
    left_over: list[str] = []
    for file, shapes in available.items():
        if file not in rules:
            left_over += [f"{file}: {key}" for key in shapes]
            continue
        for name, sources in _folded(shapes).items():
            reason = _reason_to_drop(name, rules[file])
            target = _our_key(name, rules[file])
            present = tuple(key for key in sources if key is not None)
            if reason is not None:
                dropped += [Dropped(file, key, reason) for key in present]
            elif target is None or present != sources:
                left_over += [f"{file}: {key}" for key in present]
            else:
                entries.append(_entry(target, name, file, present, shapes, rules[file]))
    if left_over:
        raise CheckpointError(
            f"{len(left_over)} key(s) belong to no network of this model: {', '.join(left_over)}."
        )
    _refuse_doubles(entries)
    return ConversionPlan(tuple(entries), tuple(dropped))


def _folded(shapes: Shapes) -> dict[str, tuple[str | None, ...]]:
    """Group keys by their names without weight norm; a missing half is None."""
    folded: dict[str, tuple[str | None, ...]] = {}
    for key in shapes:
        for magnitude, direction in WEIGHT_NORM_SPELLINGS.values():
            ending = magnitude if key.endswith(magnitude) else direction
            if key.endswith(ending):
                module = key.removesuffix(ending)
                pair = tuple(
                    name if name in shapes else None
                    for name in (module + magnitude, module + direction)
                )
                name = f"{module}.weight"
                # Both spellings, or a folded weight besides, could contradict each other.
                if folded.setdefault(name, pair) != pair or name in shapes:
                    raise CheckpointError(f"{name} is stored more than once: {key} and another.")
                break
        else:
            folded[key] = (key,)
    return folded


def _reason_to_drop(key: str, rules: FileRules) -> str | None:
    for drop in rules.drops:
        if re.fullmatch(drop.pattern, key):
            return drop.reason
    return None


def _our_key(key: str, rules: FileRules) -> str | None:
    for theirs, ours in rules.prefixes:
        if key.startswith(theirs):
            target = ours + key.removeprefix(theirs)
            for pattern, replacement in rules.renames:
                target = re.sub(pattern, replacement, target)
            return target
    return None


def _entry(
    target: str, name: str, file: str, sources: tuple[str, ...], shapes: Shapes, rules: FileRules
) -> PlanEntry:
    shape = tuple(shapes[sources[-1]])
    if len(sources) == 2:
        magnitude = tuple(shapes[sources[0]])
        if not shape or magnitude[:1] != shape[:1] or prod(magnitude) != shape[0]:
            raise CheckpointError(
                f"{file}: {sources[0]} has shape {magnitude}, which does not fit "
                f"{sources[1]} with shape {shape}."
            )
    operation = operation_on(name, len(shape), rules)
    return PlanEntry(target, file, sources, operation, permuted(shape, operation))


def _refuse_doubles(entries: list[PlanEntry]) -> None:
    seen: dict[str, PlanEntry] = {}
    for entry in entries:
        other = seen.setdefault(entry.target, entry)
        if other is not entry:
            raise CheckpointError(
                f"{entry.target} would come from two places: {', '.join(other.sources)} in "
                f"{other.file} and {', '.join(entry.sources)} in {entry.file}."
            )


# --- Backwards: our keys to upstream's ---------------------------------------------------------


def upstream_plan(
    shapes: Shapes, weight_norm: str = "parametrizations", variant: Variant | str = "english"
) -> tuple[PlanEntry, ...]:
    """Plan the conversion back to upstream's files: for each tensor of ours its file and keys.

    Args:
        shapes: our keys and shapes.
        weight_norm: "parametrizations" or "g_v", the spelling to use.

    Raises:
        CheckpointError: a key is not one of ours.
    """
    if weight_norm not in WEIGHT_NORM_SPELLINGS:
        raise CheckpointError(f"weight_norm must be {' or '.join(WEIGHT_NORM_SPELLINGS)}.")
    origins = [
        (ours, theirs, file, rules)
        for file, rules in file_rules(variant).items()
        for theirs, ours in rules.prefixes
    ]
    entries = []
    for key, shape in shapes.items():
        origin = next((row for row in origins if key.startswith(row[0])), None)
        if origin is None:
            raise CheckpointError(f"{key} is not a key of this model.")
        ours, theirs, file, rules = origin
        name = theirs + key.removeprefix(ours)
        sources: tuple[str, ...] = (name,)
        if WEIGHT_NORMED.fullmatch(name):
            module = name.removesuffix(".weight")
            sources = tuple(module + ending for ending in WEIGHT_NORM_SPELLINGS[weight_norm])
        operation = operation_on(name, len(shape), rules)
        entries.append(PlanEntry(key, file, sources, operation, tuple(shape)))
    return tuple(entries)


def upstream_layout(
    shapes: Shapes,
    weight_norm: str = "parametrizations",
    filter_buffers: bool = True,
    variant: Variant | str = "english",
) -> dict[str, dict[str, Shape]]:
    """List the keys and shapes of upstream's files, for our keys and shapes.

    Keys that conversion drops are restored: the voice encoder's similarity scale, the unused
    embedding of T3's backbone, the batch norms' counters and, if `filter_buffers`, the tokenizer's
    mel filters and window. Arguments and errors as in `upstream_plan`.
    """
    layout: dict[str, dict[str, Shape]] = {}
    for entry in upstream_plan(shapes, weight_norm, variant):
        shape = permuted(entry.shape, entry.operation, inverse=True)
        keys = layout.setdefault(entry.file, {})
        keys[entry.sources[-1]] = shape
        if len(entry.sources) == 2:
            keys[entry.sources[0]] = shape[:1] + (1,) * (len(shape) - 1)
    for file, key, shape in _restored(shapes, filter_buffers, variant):
        layout[file][key] = shape
    return layout


def _restored(
    shapes: Shapes, filter_buffers: bool, variant: Variant | str
) -> Iterator[tuple[str, str, Shape]]:
    """Yield file, key and shape of each tensor that conversion drops."""
    if isinstance(variant, str):
        variant = variant_named(variant)
    if any(key.startswith("ve.") for key in shapes):
        yield variant.voice_encoder_file, "similarity_weight", (1,)
        yield variant.voice_encoder_file, "similarity_bias", (1,)
    if "t3.tfmr.model.norm.weight" in shapes:
        width = shapes["t3.tfmr.model.norm.weight"][0]
        yield variant.t3_file, "tfmr.embed_tokens.weight", (UNUSED_EMBEDDING_ROWS, width)
    if "t3.tfmr.model.ln_f.weight" in shapes:  # GPT-2's is as large as T3's own
        yield variant.t3_file, "tfmr.wte.weight", shapes["t3.text_emb.weight"]
    for key in shapes:
        if key.startswith("s3gen.") and key.endswith(".running_mean"):
            counter = key.removeprefix("s3gen.").replace(".running_mean", ".num_batches_tracked")
            yield variant.s3gen_file, counter, ()
    if filter_buffers and "s3_tokenizer.encoder.conv1.weight" in shapes:
        n_mels = shapes["s3_tokenizer.encoder.conv1.weight"][-1]
        yield variant.s3gen_file, "tokenizer._mel_filters", (n_mels, TOKENIZER_N_FFT // 2 + 1)
        yield variant.s3gen_file, "tokenizer.window", (TOKENIZER_N_FFT,)


def to_upstream(
    tensors: Mapping[str, mx.array],
    weight_norm: str = "parametrizations",
    filter_buffers: bool = True,
    variant: Variant | str = "english",
) -> dict[str, dict[str, mx.array]]:
    """Convert our tensors back to upstream's, for each file.

    A weight-normed weight w becomes the direction w with the magnitude |w|, one of the many pairs
    that represent it. Arguments and errors as in `upstream_layout`.
    """
    import mlx.core as mx

    from .operations import magnitude

    shapes = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
    files: dict[str, dict[str, mx.array]] = {}
    for entry in upstream_plan(shapes, weight_norm, variant):
        axes = axes_of(entry.operation, inverse=True)
        tensor = tensors[entry.target]
        if axes is not None:
            tensor = mx.contiguous(tensor.transpose(axes))
        keys = files.setdefault(entry.file, {})
        keys[entry.sources[-1]] = tensor
        if len(entry.sources) == 2:
            keys[entry.sources[0]] = magnitude(tensor).astype(tensor.dtype)
    for file, key, shape in _restored(shapes, filter_buffers, variant):
        files[file][key] = _constant(key, shape)
    return files


def _constant(key: str, shape: Shape) -> mx.array:
    """Make a tensor that conversion drops, with the value that upstream's constructors give it."""
    import mlx.core as mx

    if key == "tokenizer._mel_filters":
        from mlx_chatterbox.audio.mel import mel_filters

        return mx.array(mel_filters(TOKENIZER_SAMPLE_RATE, TOKENIZER_N_FFT, shape[0]))
    if key == "tokenizer.window":
        from mlx_chatterbox.audio.stft import hann_window

        return hann_window(shape[0])
    if key.endswith(".num_batches_tracked"):
        return mx.zeros(shape, dtype=mx.int64)
    return mx.full(shape, {"similarity_weight": 10.0, "similarity_bias": -5.0}.get(key, 0.0))
