"""The base model: pretrained weights, or random ones in other sizes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import CheckpointError
from ..models.config import ModelConfig, PackingConfig, QuantizationConfig
from ..runtime.memory import all_memory
from ..weights.hub import (
    is_own_configuration,
    local_folder,
    on_this_machine,
    refuse_chattts,
    resolve,
    say_passed_over,
    variant_called,
)
from ..weights.variants import VARIANTS, Variant
from .config import TrainConfig
from .sections import ModelSection
from .tasks.base import PLACES

if TYPE_CHECKING:
    import mlx.core as mx

    from ..runtime.progress import Bars
    from ..weights.checkpoint import Checkpoint

# The most layers that `model.config` can ask for.
MAX_LAYERS = 2000


def published(model: ModelSection) -> Variant | None:
    """Return the published variant that a configuration names, or None for any other model."""
    if _local(model) is not None:
        return None
    named = variant_called(model.source)
    repo = named.repo if named is not None else model.source
    if model.variant is not None:
        chosen = VARIANTS[model.variant]
        return chosen if chosen.repo == repo else None
    return named or next((row for row in VARIANTS.values() if row.repo == repo), None)


def _local(model: ModelSection) -> Path | None:
    """Return the model's folder if the configuration names a folder."""
    if model.local_model_dir is not None:
        return local_folder(Path(model.local_model_dir))
    return local_folder(model.base_model)


def find(config: TrainConfig) -> Path | None:
    """Return the model's folder if it is on this machine; nothing is downloaded.

    Raises:
        ConfigError: it is neither a folder, nor a known name, nor OWNER/NAME.
    """
    model = config.model
    if model.local_model_dir is not None and not Path(model.local_model_dir).is_dir():
        raise config.fail(
            "model.local_model_dir", f"{model.local_model_dir} is not a folder (local_model_dir)."
        )
    if model.local_model_dir is None:
        say_passed_over(model.base_model)
    folder = _local(model)
    if folder is not None:
        refuse_chattts(folder)
        return folder
    refuse_chattts(model.source)
    variant = published(model)
    if variant is not None:
        return on_this_machine(variant.name, model.cache_dir)
    from ..weights.hub import repository_of

    if repository_of(model.source) is None:
        raise config.fail(
            "model.base_model",
            f"{model.source} is neither a folder nor a known model nor a repository (OWNER/NAME).",
        )
    return None


def configuration(config: TrainConfig) -> ModelConfig | None:
    """Return the base model's configuration, or that of `init: scratch`, without loading weights.

    Returns:
        None where a folder of upstream's files or a repository does not determine it.

    Raises:
        CheckpointError, ConfigError: see `find` and `sizes`.
    """
    folder, variant = find(config), published(config.model)
    if folder is not None and is_own_configuration(folder):
        model = ModelConfig.load(folder)
    elif variant is not None:
        model = variant.default_config()
    elif config.model.variant is not None:
        model = VARIANTS[config.model.variant].default_config()
    else:
        return None
    return sizes(model, config) if config.model.init == "scratch" else model


def open_base(config: TrainConfig, progress: Bars | None = None) -> Checkpoint:
    """Load the model in float32, after downloading and converting it if necessary.

    Raises:
        CheckpointError, HubError, ConfigError: see `checkpoint.load`.
    """
    from ..weights.checkpoint import load

    model = config.model
    folder, variant = find(config), published(model)
    if folder is None:
        name = variant.name if variant is not None else model.source
        folder = resolve(name, cache_dir=model.cache_dir)
    chosen = variant.name if variant is not None else model.variant
    if model.init == "scratch":
        return _from_scratch(folder, config)
    return load(folder, dtype="float32", progress=progress, variant=chosen)


def sizes(base: ModelConfig, config: TrainConfig) -> ModelConfig:
    """Return the base's configuration, overridden by `model.config`.

    Raises:
        ConfigError: a value that the networks cannot have.
    """
    try:
        wanted = ModelConfig.from_dict(_merged(_plain(base), config.model.config))
    except (CheckpointError, TypeError) as error:
        raise config.fail("model.config", str(error)) from None
    if wanted.layers() > MAX_LAYERS:
        raise config.fail(
            "model.config",
            f"model.config: {wanted.layers()} layers; at most {MAX_LAYERS} are allowed.",
        )
    return wanted


def _check_memory(weights: Mapping[str, mx.array], config: TrainConfig) -> None:
    """Raise ConfigError if random weights, not computed yet, need more memory than there is.

    The system would kill the process.
    """
    needed = sum(4 * value.size for value in weights.values())
    there = all_memory()
    if needed > there:
        raise config.fail(
            "model.config",
            f"model.config: the weights take {needed / 2**30:.0f} GB, and this machine has "
            f"{there / 2**30:.0f}.",
        )


def _plain(config: ModelConfig) -> dict:
    values = config.to_dict()
    del values["model_type"]
    return values


def _merged(values: dict, over: dict) -> dict:
    result = dict(values)
    for key, value in over.items():
        inner = isinstance(value, dict) and isinstance(result.get(key), dict)
        # Sections are merged; so are `rope_scaling` and `source`, which would lose keys otherwise.
        result[key] = _merged(result[key], value) if inner else value
    return result


def _from_scratch(folder: Path, config: TrainConfig) -> Checkpoint:
    """Make a model with random weights in the trained components and the base's in all others.

    The folder gives the tokenizer, and weights only of components that are not trained; it needs no
    weights if all are.
    """
    import mlx.core as mx
    from mlx.utils import tree_flatten

    from ..text.load import load_tokenizer
    from ..weights.checkpoint import (
        Checkpoint,
        build,
        built_in_voice,
        load_weights_strictly,
        read_weights,
    )
    from .trained import seeded

    base = ModelConfig.load(folder)
    wanted = sizes(base, config)
    wanted.dtype, wanted.packing = "float32", PackingConfig()
    if wanted.quantization.rules:  # what is not trained stays quantised
        plain = [
            {"layers": f"{PLACES[name]}.*", "dtype": "float32"} for name in config.model.trained
        ]
        wanted.quantization = QuantizationConfig(rules=[*plain, *wanted.quantization.rules])
    random = tuple(f"{PLACES[name]}." for name in config.model.trained)
    with seeded(config.seed):
        networks = build(wanted)
        weights = dict(tree_flatten(networks.parameters()))
        _check_memory(weights, config)
        mx.eval([value for key, value in weights.items() if key.startswith(random)])
    kept = {key for key in weights if not key.startswith(random)}
    if kept:
        stored = {k: v.astype(mx.float32) if v.dtype != mx.uint32 else v
                  for k, v in read_weights(folder).items() if not k.startswith(random)}  # fmt: skip
        _check_kept(weights, stored, kept, config)
        load_weights_strictly(
            networks, {**{k: v for k, v in weights.items() if k not in kept}, **stored}, folder
        )
    return Checkpoint(
        folder=folder,
        config=wanted,
        networks=networks,
        tokenizer=load_tokenizer(folder, wanted.text),
        voice=built_in_voice(folder, networks),
    )


def _check_kept(weights, stored, kept, config: TrainConfig) -> None:
    """Refuse other sizes than the base's in components that are not trained."""
    changed = sorted(
        k for k in kept if k not in stored or stored[k].shape != weights[k].shape
    ) + sorted(k for k in stored if k not in weights)
    if changed:
        owners = sorted(
            {
                name
                for name, place in PLACES.items()
                if any(k.startswith(f"{place}.") for k in changed)
            }
        )
        raise config.fail(
            "model.config",
            f"{', '.join(owners) or changed[0]} has other sizes than in the base model, but is "
            "not trained: name it in train_components, or keep its sizes.",
        )
