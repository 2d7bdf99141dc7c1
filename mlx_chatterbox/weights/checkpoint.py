"""Loading of a model from a name, folder or repository: every tensor must be there and fit.

Upstream's own files, and mlx-audio's, are converted on first use and kept in the user's cache.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_unflatten

from ..checks.json_file import read_json
from ..checks.plain import named
from ..checks.safetensors_header import load_safetensors
from ..errors import CheckpointError
from ..models.config import CONFIG_NAME, DTYPES, CheckpointConfig, ModelConfig
from ..models.s3gen.s3gen import S3Gen
from ..models.s3tokenizer.s3tokenizer import S3TokenizerV2
from ..models.t3.t3 import T3
from ..models.voice_encoder.voice_encoder import VoiceEncoder
from ..runtime import device, linux_cpu
from ..runtime.folders import cache_folder
from ..runtime.memory import bound_cache
from ..text.load import Tokenizer, load_tokenizer
from ..voices.checks import check_voice
from ..voices.voice import Voice
from .hub import (
    WEIGHTS_NAME,
    holds_model,
    is_converted,
    is_own_configuration,
    local_folder,
    on_this_machine,
    refuse_chattts,
    repository_of,
    resolve,
    resolve_texts,
    speech_tokenizer,
    variant_called,
    weight_files,
)
from .manifest import check_manifest
from .packing import unpack
from .quantization import precision_of, quantize_networks
from .shards import check_shards
from .variants import VARIANTS, Variant

VOICE_NAME = "conds.safetensors"


class Chatterbox(nn.Module):
    """All networks of a model; attribute paths are the keys of `model.safetensors`."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.ve = VoiceEncoder(config.voice_encoder)
        self.t3 = T3(config.t3)
        self.s3gen = S3Gen(config.s3gen)
        self.s3_tokenizer = S3TokenizerV2(config.s3_tokenizer)


@dataclass
class Checkpoint:
    """A model ready to use.

    Attributes:
        tokenizer: one of `text`'s, as the configuration says.
        voice: the built-in one, where the checkpoint has one.
    """

    folder: Path
    config: ModelConfig
    networks: Chatterbox
    tokenizer: object
    voice: Voice | None


def build(config: ModelConfig) -> Chatterbox:
    """Build networks with random weights, in evaluation mode.

    MLX evaluates lazily, so even at full size this takes no memory until the weights are used.
    """
    networks = Chatterbox(config)
    quantize_networks(networks, config)
    networks.eval()
    return networks


def loaded(config: ModelConfig, weights: Mapping[str, mx.array], name: object) -> Chatterbox:
    """Build networks with a checkpoint's weights.

    Args:
        name: of the checkpoint, for errors.

    Raises:
        CheckpointError: the weights do not fit the configuration; see `load_weights_strictly`. A
            configuration with more layers than tensors is refused before anything is built.
    """
    config.check_layers(len(weights), name)
    networks = build(config)
    load_weights_strictly(networks, weights, name)
    return networks


def load_weights_strictly(networks: nn.Module, weights: Mapping[str, mx.array], name) -> None:
    """Replace every parameter.

    Raises:
        CheckpointError: a tensor is missing, unknown, of another shape, or of integers where
            floating point is expected; each kind is counted and the first few are named.
    """
    expected = dict(tree_flatten(networks.parameters()))
    both = sorted(expected.keys() & weights.keys())
    wrong_shape = [
        f"{key} {tuple(weights[key].shape)} instead of {tuple(expected[key].shape)}"
        for key in both
        if weights[key].shape != expected[key].shape
    ]
    problems = {
        "missing": sorted(expected.keys() - weights.keys()),
        "unknown": sorted(map(named, weights.keys() - expected.keys())),
        "wrongly shaped": wrong_shape,
        "of a wrong type": [key for key in both if not _fits(expected[key], weights[key])],
    }
    counts = [
        f"{len(keys)} {kind} ({', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''})"
        for kind, keys in problems.items()
        if keys
    ]
    if counts:
        raise CheckpointError(f"{name} does not fit the networks; tensors: {'; '.join(counts)}.")
    networks.update(tree_unflatten(list(weights.items())))


def _fits(parameter: mx.array, tensor: mx.array) -> bool:
    """Tell whether a tensor can replace a parameter: both floating point, or of equal type."""
    if mx.issubdtype(parameter.dtype, mx.floating):
        return mx.issubdtype(tensor.dtype, mx.floating)
    return tensor.dtype == parameter.dtype


def read_weights(folder: Path) -> dict[str, mx.array]:
    """Map the tensors of a converted Chatterbox, unpacked; each is read when it is used.

    Raises:
        CheckpointError: missing or damaged.
    """
    weights = map_weights(folder)
    config = ModelConfig.load(folder)
    if config.packing.bits:
        return unpack(weights, config.packing, getattr(mx, config.dtype))
    return weights


def map_weights(folder: Path) -> dict[str, mx.array]:
    """Map the tensors of a converted folder of any family as they are stored.

    Raises:
        CheckpointError: missing or damaged.
    """
    weights: dict[str, mx.array] = {}
    keys = {}
    for path in weight_files(folder):
        tensors = load_safetensors(path)
        keys[path.relative_to(folder).as_posix()] = list(tensors)
        weights |= tensors
    if len(keys) > 1:
        check_shards(folder / WEIGHTS_NAME, keys)
    return weights


def load(
    name: str | Path,
    dtype: str | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    variant: str | None = None,
    t3_file: str | None = None,
    check: bool = False,
) -> Checkpoint:
    """Load a model.

    Args:
        name: a converted folder, one with upstream's or mlx-audio's files, a known name, or
            OWNER/NAME.
        dtype: "float32", "float16" or "bfloat16"; None keeps the checkpoint's own, float32 for
            upstream's files.
        progress: callback(stage, done, total), in bytes: "converting" while upstream's or
            mlx-audio's files are converted on first use, "checking" with `check`.
        variant: which of several models in a folder of upstream's files.
        t3_file: another T3 checkpoint of such a folder than the variant's own.
        check: compare every file with the folder's manifest first.

    Raises:
        CheckpointError: there is no such model, or it is damaged or incomplete.
        HubError: it cannot be downloaded.
    """
    if dtype is not None and dtype not in DTYPES:
        raise CheckpointError(f"dtype {dtype!r} is none of {', '.join(DTYPES)}.")
    refuse_chattts(name)
    named = variant_called(name)
    fetched = local_folder(name) is None
    folder = resolve(name, t3_file)
    if not is_converted(folder):
        chosen = named.name if named is not None else variant
        fetch = speech_tokenizer if fetched else None
        folder = converted_copy(
            folder,
            [file for file in sorted(folder.iterdir()) if file.is_file()],
            dtype,
            verify=verify_folder,
            progress=progress,
            variant=chosen,
            t3_file=t3_file,
            fetch=fetch,
        )
    if check:
        check_manifest(folder, with_stage(progress, "checking"))
    return load_converted(folder, dtype)


def load_converted(folder: Path, dtype: str | None = None) -> Checkpoint:
    """Load a checkpoint folder of ours; see `load`."""
    config = ModelConfig.load(folder)
    networks = loaded(config, read_weights(folder), folder)
    if dtype is not None and dtype != config.dtype:
        cast(networks, config, dtype)
    linux_cpu.warn_if_slow(device.on_cpu())
    bound_cache()
    return Checkpoint(
        folder=folder,
        config=config,
        networks=networks,
        tokenizer=load_tokenizer(folder, config.text),
        voice=built_in_voice(folder, networks),
    )


def built_in_voice(folder: Path, networks: nn.Module) -> Voice | None:
    """Load the built-in voice of a checkpoint; None if it has none.

    Raises:
        CheckpointError: it is damaged, or does not fit the networks.
    """
    path = folder / VOICE_NAME
    if not path.is_file():
        return None
    voice = Voice.load(path)
    check_voice(voice, networks, str(path))
    return voice


def cast(networks: nn.Module, config: CheckpointConfig, dtype: str) -> None:
    """Convert the tensors of the configuration's type; those that a rule keeps in another stay."""
    rules = [
        {**rule, "dtype": dtype} if rule.get("dtype") == config.dtype else rule
        for rule in config.quantization.rules
    ]
    config.dtype = dtype
    config.quantization = replace(config.quantization, rules=rules)
    changed = {
        key: value.astype(getattr(mx, dtype))
        for key, value in dict(tree_flatten(networks.parameters())).items()
        if mx.issubdtype(value.dtype, mx.floating)
        and precision_of(config, key, value.shape).dtype == dtype
    }
    networks.update(tree_unflatten(list(changed.items())))


def read_text_model(name: str | Path) -> tuple[ModelConfig, Tokenizer | None]:
    """Load the part of a model that reads texts: configuration and tokenizer, no weights.

    For a known model that is not on this machine, nothing is downloaded: its usual configuration is
    returned, and None for the tokenizer. From any other repository the small files are downloaded.

    Raises:
        CheckpointError, HubError: see `load`.
    """
    refuse_chattts(name)
    variant = variant_called(name)
    folder = local_folder(name)
    if folder is None and variant is not None:
        folder = on_this_machine(str(name))
        if folder is None:
            return variant.default_config(), None
    elif folder is None:
        folder = resolve_texts(name)
    if is_own_configuration(folder):
        config = ModelConfig.load(folder)
    else:
        config = (variant or _variant_by_texts(folder)).default_config()
    return config, load_tokenizer(folder, config.text)


def variant_of(name: str | Path) -> Variant | None:
    """Determine the variant of a model before it is downloaded or converted; None if it is unknown.

    Args:
        name: as in `load`.
    """
    folder = local_folder(name)
    if folder is None:
        repository = None if isinstance(name, Path) else repository_of(str(name))
        rows = [row for row in VARIANTS.values() if row.repo == repository]
        return variant_called(name) or next(iter(rows), None)
    if is_own_configuration(folder):
        return VARIANTS.get(str(read_json(folder / CONFIG_NAME).get("variant")))
    try:
        return _variant_by_texts(folder)
    except CheckpointError:
        return None  # loading reports it, or finds the tokenizer elsewhere


def _variant_by_texts(folder: Path) -> Variant:
    """Determine the variant of a folder of upstream's files by its tokenizer and T3's file name."""

    def has(*files: str) -> bool:
        return all((folder / file).is_file() for file in files)

    rows = [row for row in VARIANTS.values() if has(*row.tokenizer_files)]
    if not rows:
        if not holds_model(folder):
            raise CheckpointError(f"the folder {folder} holds no model.")
        raise CheckpointError(f"{folder} has no tokenizer of a known model.")
    return next((row for row in rows if has(row.t3_file)), rows[0])


def verify_folder(folder: Path) -> None:
    """Raise CheckpointError unless a converted Chatterbox can be loaded."""
    config = ModelConfig.load(folder)
    networks = loaded(config, read_weights(folder), folder)
    load_tokenizer(folder, config.text)
    built_in_voice(folder, networks)


def with_stage(
    progress: Callable[[str, int, int], None] | None, stage: str
) -> Callable[[int, int], None] | None:
    return None if progress is None else lambda done, total: progress(stage, done, total)


def converted_copy(
    folder: Path,
    files: Iterable[Path],
    dtype: str | None,
    *,
    verify: Callable[[Path], object],
    progress: Callable[[str, int, int], None] | None,
    variant: str | None = None,
    t3_file: str | None = None,
    fetch: Callable[[], Path] | None = None,
) -> Path:
    """Convert upstream's or mlx-audio's files into the cache, unless they are there already.

    Weights that several models share, S3Gen above all, are kept once.

    Args:
        files: those of the model, by which a change is noticed.
        verify, t3_file, variant: see `conversion.core.convert`; `fetch` is its `speech_tokenizer`.
    """
    from mlx_chatterbox.weights.conversion.core import convert_folder

    stamp = hashlib.sha256(f"{dtype} {variant} {t3_file}".encode())
    for file in files:
        status = file.stat()
        stamp.update(f"{file.resolve()} {status.st_size} {status.st_mtime_ns}\n".encode())
    converted = cache_folder() / "converted"
    output = converted / f"{folder.name}-{stamp.hexdigest()[:16]}"
    if is_converted(output):
        return output
    converted.mkdir(parents=True, exist_ok=True)
    if output.exists():
        warnings.warn(f"{output} is incomplete and is converted again.", stacklevel=3)
    return convert_folder(
        folder,
        output,
        dtype=dtype,
        variant=variant,
        t3_file=t3_file,
        force=True,
        verify=verify,
        shared=converted / "shared",
        progress=with_stage(progress, "converting"),
        speech_tokenizer=fetch,
    )
