"""Folders in mlx-audio's layout, as published by mlx-community; `community.py` has their keys."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable
from fnmatch import fnmatchcase
from math import prod
from pathlib import Path

from mlx_chatterbox.checks.json_file import read_json
from mlx_chatterbox.errors import CheckpointError
from mlx_chatterbox.models.config import BITS, CONFIG_NAME, DTYPES, QuantizationConfig
from mlx_chatterbox.weights.hub import SPEECH_TOKENIZER_REPO
from mlx_chatterbox.weights.shards import is_there
from mlx_chatterbox.weights.variants import VARIANTS, Variant, variant_named

from ..formats.safetensors_file import DTYPES as STORED_DTYPES
from . import community
from .model_source import COMMUNITY, Source, first_present, present
from .packed import GROUP_SIZE, UnpackingReader
from .rules import ConversionPlan, Shapes
from .sources import WEIGHTS_NAME, has_mask, listing, open_weights
from .voice import VOICE_NAME

# The layers that mlx-audio quantises: this pattern matches its keys and ours.
T3_LAYERS = "t3.tfmr.model.layers.*"


def community_source(
    folder: Path, variant: str | None, speech_tokenizer: Callable[[], Path] | None
) -> Source:
    """Describe a folder in mlx-audio's layout; arguments and errors as in `layouts.recognise`."""
    path = folder / WEIGHTS_NAME
    shapes = open_weights(path).shapes
    stated = _stated(folder)
    row = _variant(folder, shapes, stated, variant)
    weights = {WEIGHTS_NAME: path}
    tokenizer_file = WEIGHTS_NAME
    if not community.has_speech_tokenizer(shapes):
        tokenizer_file = f"{community.SPEECH_TOKENIZER_FOLDER}/{WEIGHTS_NAME}"
        weights[tokenizer_file] = _speech_tokenizer(folder, speech_tokenizer)
    group_size, own_sizes = group_sizes(stated)

    def open_one(name: str) -> UnpackingReader:
        return UnpackingReader(open_weights(weights[name]), group_size, own_sizes)

    config = row.default_config()
    with contextlib.closing(open_one(WEIGHTS_NAME)) as reader:
        types = _own_types(reader)
        config.quantization = QuantizationConfig(rules=_rules(reader))
    if tokenizer_file != WEIGHTS_NAME:
        with contextlib.closing(open_one(tokenizer_file)) as reader:
            types |= _own_types(reader, community.SPEECH_TOKENIZER)
    config.dtype = types.pop("t3.", "float32")
    return Source(
        layout=COMMUNITY,
        variant=row.name,
        weights=weights,
        texts=_texts(folder, row),
        voice=first_present(folder, (VOICE_NAME, row.voice_file)),
        config=config,
        plan=lambda available: community.plan(available, tokenizer_file),
        open=open_one,
        # The speech tokenizer of a half-precision model is published in float32.
        own_types=[
            {"layers": f"{part}*", "dtype": "float32"}
            for part, dtype in types.items()
            if dtype == "float32" != config.dtype
        ],
        notes=_notes,
    )


def _stated(folder: Path) -> dict:
    values = read_json(folder / CONFIG_NAME, object)
    return values if isinstance(values, dict) else {}


def _variant(folder: Path, shapes: Shapes, stated: dict, variant: str | None) -> Variant:
    """Determine the variant by T3's sizes, v2 or v3 by the configuration."""
    is_gpt2 = any(key.startswith("t3.tfmr.h.") for key in shapes)
    embedding = shapes.get("t3.text_emb.weight")
    vocabulary = 0 if embedding is None else embedding[0]
    masked = embedding is not None and has_mask(shapes, "t3.")
    fitting = [
        row
        for row in VARIANTS.values()
        for t3 in (row.default_config().t3,)
        if (t3.is_gpt2, t3.has_mask, t3.text_tokens_dict_size) == (is_gpt2, masked, vocabulary)
    ]
    if not fitting:
        known = ", ".join(
            f"{row.name} ({row.default_config().t3.text_tokens_dict_size})"
            for row in VARIANTS.values()
        )
        raise CheckpointError(
            f"{folder} holds a T3 with a text vocabulary of {vocabulary}, which no variant has: "
            f"{known}."
        )
    if variant is not None:
        if variant_named(variant) not in fitting:
            names = ", ".join(row.name for row in fitting)
            raise CheckpointError(f"{folder} holds {names}, not {variant}.")
        return variant_named(variant)
    if is_gpt2 and embedding is not None:  # tells Turbo from Nano
        width = embedding[1]
        return min(fitting, key=lambda row: row.default_config().t3.hidden_size != width)
    # mlx-audio's first multilingual files, which state no version, are version 2.
    name = "multilingual" if stated.get("t3_model") == "v3" else "multilingual-v2"
    return next((row for row in fitting if row.name == name), fitting[0])


def _texts(folder: Path, row: Variant) -> dict[str, Path]:
    """Find the tokenizer's files, by our names."""
    texts = present(folder, (*row.tokenizer_files, *row.optional_files))
    tokenizer = row.tokenizer_files[0]
    plain = folder / "tokenizer.json"  # what mlx-audio calls every tokenizer of one file
    if len(row.tokenizer_files) == 1 and tokenizer not in texts and plain.is_file():
        texts[tokenizer] = plain
    missing = [name for name in row.tokenizer_files if name not in texts]
    if missing:
        raise CheckpointError(
            f"{folder} is mlx-audio's {row.name} and lacks {', '.join(missing)}. "
            f"It has {listing(folder)}."
        )
    return texts


def group_sizes(stated: dict) -> tuple[int, dict[str, int]]:
    """Read the group sizes of quantised layers from a configuration in MLX's convention.

    Returns:
        The usual size, and the sizes of layers that have another, by key.
    """
    values = stated.get("quantization") or stated.get("quantization_config") or {}
    try:
        size = int(values.get("group_size", GROUP_SIZE))
        own = {
            f"{layer}.weight": int(value.get("group_size", size))
            for layer, value in values.items()
            if isinstance(value, dict)
        }
    except (AttributeError, TypeError, ValueError):
        raise CheckpointError(
            f"{CONFIG_NAME} has quantization {values!r}, which states no group sizes."
        ) from None
    return size, own


def _rules(reader: UnpackingReader) -> list[dict]:
    """Express its quantised layers by our rules, a single one if all of T3's are alike."""
    packings = {
        target.removesuffix(".weight"): packing
        for key in reader.shapes
        if (packing := reader.packing(key)) is not None
        and (target := community.our_key(key)) is not None
    }
    rows = {layer: value for layer, value in packings.items() if value[0] in BITS}
    inner = [
        target.removesuffix(".weight")
        for key, shape in reader.shapes.items()
        if fnmatchcase(key, T3_LAYERS)
        and key.endswith(".weight")
        and len(shape) == 2
        and (target := community.our_key(key)) is not None
    ]
    if inner and set(rows) == set(inner) and len(set(rows.values())) == 1:
        rows = {T3_LAYERS: next(iter(rows.values()))}
    return [
        {"layers": layer, "bits": bits, "group_size": size} for layer, (bits, size) in rows.items()
    ]


def _own_types(reader: UnpackingReader, part: str | None = None) -> dict[str, str]:
    """Find the floating-point type of most numbers in each part.

    Args:
        part: that all keys belong to; None: the parts by the beginnings of the keys.
    """
    numbers: dict[str, Counter] = {}
    for key, shape in reader.shapes.items():
        dtype = str(STORED_DTYPES[reader.dtypes[key]][0]).rpartition(".")[2]
        if dtype in DTYPES:
            count = numbers.setdefault(part or key.partition(".")[0] + ".", Counter())
            count[dtype] += prod(shape)
    return {part: count.most_common(1)[0][0] for part, count in numbers.items()}


def _notes(plan: ConversionPlan) -> list[str]:
    lost = community.lost_biases(plan)
    if not lost:
        return []
    return [
        f"{len(lost)} biases of S3Gen's attention are missing from this file, which mlx-audio's "
        "first version wrote. They are zero here, as in mlx-audio: the model sounds as it does "
        "there, not as upstream's does."
    ]


def _speech_tokenizer(folder: Path, fetch: Callable[[], Path] | None) -> Path:
    """Find the file of the separate speech tokenizer in the folder or beside it, or download it."""
    name = community.SPEECH_TOKENIZER_FOLDER
    for place in (folder / name, folder.parent / name):
        if is_there(place / WEIGHTS_NAME):
            return place / WEIGHTS_NAME
    if fetch is not None:
        return fetch()
    raise CheckpointError(
        f"{folder} has no complete speech tokenizer; it is published separately. Looked for "
        f"{folder / name} and {folder.parent / name}. Download it: hf download "
        f"{SPEECH_TOKENIZER_REPO} --local-dir {folder.parent / name}"
    )
