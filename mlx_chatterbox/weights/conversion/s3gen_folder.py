"""S3Gen without the rest of a model: upstream's file, or Hugging Face's folder, in and out.

Hugging Face's layout is that of the transformers pull request 42413 (`S3GenModel`): upstream's keys
except for the speech tokenizer, which is one level deeper, and hyperparameters in a `config.json`
with `model_type` "s3gen". The keys of its separate vocoder (`HiFTNetModel`, "hiftnet") have no
prefix.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import mlx.core as mx

from mlx_chatterbox.checks.config_base import Config
from mlx_chatterbox.errors import CheckpointError
from mlx_chatterbox.models.s3gen.config import S3GenConfig
from mlx_chatterbox.models.s3tokenizer.config import S3TokenizerConfig
from mlx_chatterbox.weights.hub import OUR_PARTS
from mlx_chatterbox.weights.part_folder import read_part_config
from mlx_chatterbox.weights.shards import is_there

from ..formats.safetensors_file import DTYPES
from ..formats.tensor_reader import TensorReader
from . import upstream
from .operations import apply_entry
from .packed import RenamingReader
from .rules import ConversionPlan
from .sources import MEANFLOW_KEY, WEIGHTS_NAME, open_weights

AnyConfig = TypeVar("AnyConfig", bound=Config)

S3GEN, HIFTNET = "s3gen", "hiftnet"
_NAMES = (WEIGHTS_NAME, "s3gen.safetensors", "s3gen.pt", "s3gen_meanflow.safetensors")
# The name of the file in upstream's rules, independent of its name on disk.
_FILE = "s3gen.safetensors"
_TOKENIZER, _DEEPER = "tokenizer.", "tokenizer.s3_model."
_VOCODER = "mel2wav."
TOKENIZER_FIELD = "s3_tokenizer"


def is_s3gen(path: Path) -> bool:
    """Tell whether a file holds S3Gen and nothing else, with upstream's or Hugging Face's keys."""
    if not is_there(path):
        return False
    keys = open_weights(path).shapes
    return {"flow", "mel2wav"} <= {key.removeprefix("s3gen.").partition(".")[0] for key in keys}


def s3gen_file(path: Path) -> Path:
    """Find the file with S3Gen in a folder, or return `path` if it is a file.

    Raises:
        CheckpointError: there is none.
    """
    path = path.expanduser()
    if path.is_file():
        return path
    if read_part_config(path).get("model_type") in OUR_PARTS:
        raise CheckpointError(
            f"{path} holds S3Gen in this library's layout; to use it in a conversion, save it with "
            "S3GenModel.save_pretrained(folder, layout='transformers')."
        )
    for name in _NAMES:
        if is_there(path / name):
            return path / name
    raise CheckpointError(f"{path} holds no S3Gen; looked for {', '.join(_NAMES)}.")


def plain_names(reader: TensorReader) -> TensorReader:
    """Give Hugging Face's S3Gen or vocoder upstream's keys; upstream's own stays as it is."""
    names = {}
    vocoder_alone = any(key.startswith("conv_pre.") for key in reader.shapes)
    for key in reader.shapes:
        plain = key.removeprefix("s3gen.").replace(_DEEPER, _TOKENIZER, 1)
        names[_VOCODER + plain if vocoder_alone else plain] = key
    if len(names) != len(reader.shapes) or all(plain == key for plain, key in names.items()):
        return reader
    return RenamingReader(reader, names)


def stated_config(folder: Path, config: AnyConfig, model_type: str = S3GEN) -> AnyConfig:
    """Return `config` with the fields that Hugging Face's `config.json` states.

    The file of another model, or none, changes nothing; fields that only transformers has are
    ignored.

    Raises:
        CheckpointError: it cannot be read.
    """
    values = read_part_config(folder)
    if values.get("model_type") != model_type:
        return config
    names = {field.name for field in dataclasses.fields(config)}
    stated = {name: value for name, value in values.items() if name in names}
    return type(config).from_dict({**config.to_dict(), **stated})


def read_s3gen(
    path: Path, dtype: mx.Dtype, within: str | tuple[str, ...] = ""
) -> dict[str, mx.array]:
    """Read S3Gen's tensors of a file under our keys and in our layout.

    Args:
        path: with upstream's or Hugging Face's tensors, .safetensors or .pt.
        dtype: of the floating-point tensors.
        within: beginning of the keys to read: `s3gen.mel2wav.`

    Raises:
        CheckpointError: damaged, or with keys that are not S3Gen's.
    """
    with contextlib.closing(plain_names(open_weights(path))) as reader:
        todo = upstream.plan({_FILE: reader.shapes}, "english")
        return read_entries(todo, {_FILE: reader}, dtype, within)


def read_entries(
    todo: ConversionPlan,
    readers: Mapping[str, TensorReader],
    dtype: mx.Dtype,
    within: str | tuple[str, ...],
) -> dict[str, mx.array]:
    """Convert the tensors of a plan whose keys begin with `within`, in memory."""
    weights = {}
    for entry in todo.entries:
        if entry.target.startswith(within):
            reader = readers[entry.file]
            zeros = entry.operation == "zeros"
            sources = [] if zeros else [reader.read(key) for key in entry.sources]
            stored = DTYPES[reader.dtypes[entry.sources[-1]]][0]
            kind = dtype if mx.issubdtype(stored, mx.floating) else stored
            weights[entry.target] = apply_entry(entry, sources, kind)
    return weights


def is_meanflow(path: Path) -> bool:
    """Tell whether a file's flow was distilled to two steps (Turbo, Nano), which adds a layer."""
    with contextlib.closing(open_weights(path)) as reader:
        return any(key.endswith(MEANFLOW_KEY) for key in reader.shapes)


def stated_tokenizer(folder: Path, config: S3TokenizerConfig) -> S3TokenizerConfig:
    """Return `config` with the speech tokenizer's sizes that `to_hugging_face` wrote.

    The pull request's own folders do not state them, as they have the usual speech tokenizer.
    """
    values = read_part_config(folder)
    stated = values.get(TOKENIZER_FIELD, {}) if values.get("model_type") == S3GEN else {}
    return S3TokenizerConfig.from_dict({**config.to_dict(), **stated})


def to_hugging_face(
    weights: Mapping[str, mx.array], config: S3GenConfig, tokenizer: S3TokenizerConfig
) -> tuple[dict[str, mx.array], dict[str, Any]]:
    """Make tensors and `config.json` as the pull request's `S3GenModel.save_pretrained` does.

    Its code fixes the sizes of vocoder, speaker encoder and speech tokenizer; ours are written in
    addition.
    """
    tensors = upstream.to_upstream(weights, filter_buffers=False)[_FILE]
    renamed = {
        _DEEPER + key.removeprefix(_TOKENIZER) if key.startswith(_TOKENIZER) else key: value
        for key, value in tensors.items()
    }
    values = {"model_type": S3GEN, "architectures": ["S3GenModel"], **config.to_dict()}
    return renamed, {**values, TOKENIZER_FIELD: tokenizer.to_dict()}


def vocoder_to_hugging_face(
    weights: Mapping[str, mx.array], config: Config
) -> tuple[dict[str, mx.array], dict[str, Any]]:
    """Do the same as `to_hugging_face` for the vocoder: keys of `weights` begin `s3gen.mel2wav.`"""
    tensors = upstream.to_upstream(weights)[_FILE]
    values = {"model_type": HIFTNET, "architectures": ["HiFTNetModel"], **config.to_dict()}
    return {key.removeprefix(_VOCODER): value for key, value in tensors.items()}, values
