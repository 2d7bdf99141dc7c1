"""The training configuration: one YAML file, read into `sections` and checked by `rules`.

An unknown key, a wrong type and settings that contradict each other are errors that name the line.
Nothing here imports MLX.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..errors import ConfigError
from .options import Reader, option
from .sections import DatasetSection, LoraConfig, ModelSection, TrainingSection
from .yaml_lines import Node, parse, read_yaml, write_yaml


@dataclass
class TrainConfig:
    """A whole configuration.

    Attributes:
        notes: what was accepted but has no effect, a line each.
        places: where each given key stands, for messages of later checks.
    """

    model: ModelSection = option(factory=ModelSection, doc="")
    dataset: DatasetSection = option(factory=DatasetSection, doc="")
    training: TrainingSection = option(factory=TrainingSection, doc="")
    seed: int = option(42, "of everything that is random: same seed, same run", low=0)
    device: Literal["auto", "gpu", "cpu", "mps", "cuda"] | None = option(
        None, "`cpu` computes on the processor; anything else on MLX's default device"
    )
    notes: list[str] = field(default_factory=list, repr=False, compare=False)
    places: dict[str, str] = field(default_factory=dict, repr=False, compare=False)

    @property
    def lora(self) -> LoraConfig | None:
        return self.model.lora

    def fail(self, key: str, message: str) -> ConfigError:
        """The error to raise about a key, naming its line where the file gives it."""
        where = self.places.get(key) or self.places.get("", "configuration")
        return ConfigError(f"{where}: {message}")

    def to_dict(self) -> dict[str, Any]:
        """Plain values that `load_config` reads back equal."""
        values = dataclasses.asdict(self)
        del values["notes"], values["places"]
        return values


_NOT_ON_MLX = "MLX shares one memory with the GPU, so there is nothing to pin."
IGNORED = {
    "training.dataloader_pin_memory": _NOT_ON_MLX,
    "training.remove_unused_columns": "only the columns that are named are read.",
    "training.label_names": "the losses know their labels.",
    "training.do_train": "the subcommand says what is done.",
    "training.do_eval": "see training.eval_strategy.",
    "dataset.sample_rate": "recordings of any rate are resampled to what each network needs.",
    "dataset.streaming": "features are computed once and kept.",
    "model.model_params": "sizes are set by model.config, with init: scratch.",
    "wandb": "metrics go to metrics.jsonl and TensorBoard.",
    "advanced": "what is in it is not read; see docs/training.md for what there is instead.",
}


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> TrainConfig:
    """Read a YAML file.

    Args:
        overrides: "training.learning_rate=5e-5" and the like, applied over the file.

    Returns:
        The configuration, with paths that are relative to the file's folder (those of overrides:
        to the current one) made absolute.

    Raises:
        ConfigError: see the message; it begins with file and line.
    """
    path = Path(path)
    tree = read_yaml(path)
    for text in overrides:
        _override(tree, text)
    config = read_config(tree)
    _resolve_paths(config, path.resolve().parent)
    return config


def load_saved(path: str | Path) -> TrainConfig:
    """Read what `save_config` wrote: every key stands there, every path is absolute.

    It has been checked already; and rules that ask what was written down, rather than left to its
    default, make no sense of it.
    """
    return Reader(IGNORED).dataclass(TrainConfig, read_yaml(Path(path)))


def read_config(tree: Node) -> TrainConfig:
    """The configuration of a parsed file, checked.

    Raises:
        ConfigError: see `load_config`.
    """
    from .rules import check

    _rename(tree)
    reader = Reader(IGNORED)
    config = reader.dataclass(TrainConfig, tree)
    config.notes, config.places = reader.notes, {**reader.places, "": tree.where}
    check(config, tree)
    return config


def save_config(config: TrainConfig, path: Path) -> None:
    """Write a configuration as YAML, whole or not at all."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(write_yaml(config.to_dict()), encoding="utf-8")
    temporary.replace(path)


def _rename(tree: Node) -> None:
    """An older name of Transformers that the guide's trainer uses too."""
    training = tree.value.get("training")
    if training is None or not isinstance(training.value, dict):
        return
    old, new = "evaluation_strategy", "eval_strategy"
    if old in training.value:
        where = training.keys[old]
        if new in training.value:
            raise ConfigError(f"{where}: {old} is the old name of {new}, which is set too.")
        training.value[new] = training.value.pop(old)
        training.keys[new] = training.keys.pop(old)


def _override(tree: Node, text: str) -> None:
    """Put `section.key=value` into the tree.

    Raises:
        ConfigError: it has another form.
    """
    key, separator, value = text.partition("=")
    where = f"--set {key}"
    if not separator or not key:
        raise ConfigError(f"--set {text}: write it as section.key=value.")
    node = parse(value, where, line_numbers=False) or Node("", where)
    *sections, last = key.strip().split(".")
    at = tree
    for name in sections:
        inner = at.value.get(name)
        if inner is None or inner.is_null:
            inner = at.value[name] = Node({}, where)
            at.keys.setdefault(name, where)
        if not isinstance(inner.value, dict):
            raise ConfigError(f"{where}: {name} is no section.")
        at = inner
    at.value[last] = node
    at.keys[last] = where


_PATHS = (
    ("model", "local_model_dir"),
    ("model", "cache_dir"),
    ("dataset", "dataset_path"),
    ("dataset", "feature_cache_dir"),
    ("training", "output_dir"),
    ("training", "resume_from_checkpoint"),
)


def _resolve_paths(config: TrainConfig, folder: Path) -> None:
    for section, name in _PATHS:
        part = getattr(config, section)
        value = getattr(part, name)
        if value is not None:
            setattr(part, name, _absolute(config, f"{section}.{name}", value, folder))
    base = _absolute(config, "model.base_model", config.model.base_model, folder)
    if Path(base).is_dir():  # a name that may be a folder too
        config.model.base_model = base


def _absolute(config: TrainConfig, key: str, value: str, folder: Path) -> str:
    base = Path.cwd() if config.places.get(key, "").startswith("--set ") else folder
    return str(base / Path(value).expanduser())
