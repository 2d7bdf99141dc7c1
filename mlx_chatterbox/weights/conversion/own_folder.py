"""Checkpoints of ours as a source: to change their precision, or unpack their weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path

from mlx_chatterbox.errors import CheckpointError
from mlx_chatterbox.models.config import CheckpointConfig, ModelConfig, PackingConfig
from mlx_chatterbox.text.files import LEXICON_FILE
from mlx_chatterbox.weights.shards import is_there
from mlx_chatterbox.weights.variants import variant_named

from ..chattts_files import STATISTICS_NAME, TOKENIZER_FILES
from ..configuration import read_config
from ..formats.tensor_reader import TensorReader
from .model_source import OURS, Source, first_present, present
from .packed import UnpackingReader
from .rules import ConversionPlan, PlanEntry, Shapes
from .sources import WEIGHTS_NAME, open_weights, required_weight_files
from .voice import VOICE_NAME


def own_source(folder: Path, variant: str | None) -> Source:
    """Describe a checkpoint of ours; arguments and errors as in `layouts.recognise`."""
    config = read_config(folder)
    texts: tuple[str, ...] = (*TOKENIZER_FILES, STATISTICS_NAME)
    packing = PackingConfig()
    if isinstance(config, ModelConfig):
        row = variant_named(config.variant)
        texts = (*row.tokenizer_files, *row.optional_files, LEXICON_FILE)
        packing, config = config.packing, dataclasses.replace(config, packing=packing)
    if variant is not None and variant != config.variant:
        raise CheckpointError(f"{folder} holds {config.variant}, not {variant}.")
    whole = folder / WEIGHTS_NAME
    if is_there(whole):
        weights = {WEIGHTS_NAME: whole}
    else:
        weights = {path.name: path for path in required_weight_files(folder)}

    def open_one(name: str) -> TensorReader:
        reader = open_weights(weights[name])
        if packing.bits:
            return UnpackingReader(reader, packing.group_size, offsets=".offsets")
        if config.quantization.rules:
            return UnpackingReader(reader, own_sizes=_group_sizes(config, reader.shapes))
        return reader

    return Source(
        layout=OURS,
        variant=config.variant,
        weights=weights,
        texts=present(folder, texts),
        voice=first_present(folder, (VOICE_NAME,)),
        config=config,
        plan=_plan,
        open=open_one,
    )


def _plan(available: Mapping[str, Shapes]) -> ConversionPlan:
    """Plan to copy every tensor."""
    return ConversionPlan(
        tuple(
            PlanEntry(key, file, (key,), "copy", tuple(shape))
            for file, shapes in available.items()
            for key, shape in shapes.items()
        ),
        (),
    )


def _group_sizes(config: CheckpointConfig, shapes: Shapes) -> dict[str, int]:
    """Compute the group sizes of quantised layers, by key, from their shapes and bits."""
    sizes = {}
    for scales in [key for key in shapes if key.endswith(".scales")]:
        layer = scales.removesuffix(".scales")
        rules = [rule for rule in config.quantization.rules if fnmatchcase(layer, rule["layers"])]
        if rules and "bits" in rules[0]:
            width = shapes[f"{layer}.weight"][-1] * 32 // rules[0]["bits"]
            sizes[f"{layer}.weight"] = width // shapes[scales][-1]
    return sizes
