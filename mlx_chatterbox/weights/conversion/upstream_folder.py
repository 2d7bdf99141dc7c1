"""Folders of upstream's files (`upstream.py`), whose S3Gen may be in Hugging Face's layout."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mlx_chatterbox.models.config import ModelConfig
from mlx_chatterbox.text.files import LEXICON_FILE
from mlx_chatterbox.weights.hub import is_own_configuration
from mlx_chatterbox.weights.variants import Variant

from ..formats.tensor_reader import TensorReader
from . import upstream
from .model_source import UPSTREAM, Source, first_present, present
from .rules import ConversionPlan, Shapes
from .s3gen_folder import plain_names, s3gen_file, stated_config
from .sources import check_parts, find_source, open_weights


def _configuration(folder: Path, row: Variant) -> ModelConfig:
    """Make the variant's configuration, or read the one that our trainer's export wrote."""
    if not is_own_configuration(folder):
        return row.default_config()
    config = ModelConfig.load(folder)
    return config if config.variant == row.name else row.default_config()


def upstream_source(
    folder: Path, variant: str | None, t3_file: str | None, s3gen: Path | None
) -> Source:
    """Describe a folder of upstream's files; arguments and errors as in `layouts.recognise`."""
    row = find_source(folder, variant, t3_file, elsewhere=s3gen is not None)
    weights = {name: folder / name for name in row.weight_files}
    config = _configuration(folder, row)
    if s3gen is not None:
        weights[row.s3gen_file] = path = s3gen_file(s3gen)
        config.s3gen = stated_config(path.parent, config.s3gen)

    def plan(shapes: Mapping[str, Shapes]) -> ConversionPlan:
        check_parts(row, shapes, config)
        return upstream.plan(shapes, row)

    def open_one(name: str) -> TensorReader:
        reader = open_weights(weights[name])
        return plain_names(reader) if name == row.s3gen_file else reader

    return Source(
        layout=UPSTREAM,
        variant=row.name,
        weights=weights,
        texts=present(folder, (*row.tokenizer_files, *row.optional_files, LEXICON_FILE)),
        voice=first_present(folder, (row.voice_file,)),
        config=config,
        plan=plan,
        open=open_one,
    )
