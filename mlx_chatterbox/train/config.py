"""The training configuration: one YAML file, read into `sections` and checked by `rules`.

An unknown key, a wrong type and settings that contradict each other are errors that name the line.
Nothing here imports MLX.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..errors import ConfigError
from ..runtime.own_files import write_whole
from .options import Reader, option, rows
from .sections import DatasetSection, LoraConfig, ModelSection, TrainingSection, WandbSection
from .spellings import ALIASES, HINTS, IGNORED, IGNORED_ADAPTERS, REFUSED
from .translate import TRANSLATED, put, rename, translate
from .yaml_lines import Node, error_at, parse, read_yaml, write_yaml


@dataclass
class TrainConfig:
    """A whole configuration.

    Attributes:
        notes: what was accepted but has no effect, a line each.
        places: where each given key stands, for messages of later checks.
        all_given: nothing was left to its default: the configuration of a run, saved.
    """

    model: ModelSection = option(factory=ModelSection, doc="")
    dataset: DatasetSection = option(factory=DatasetSection, doc="")
    training: TrainingSection = option(factory=TrainingSection, doc="")
    wandb: WandbSection = option(factory=WandbSection, doc="")
    seed: int = option(
        42, "of everything that is random: same seed, same run", low=0, high=2**64 - 1
    )
    device: Literal["auto", "gpu", "cpu", "mps", "cuda"] | None = option(
        None, "`cpu` computes on the processor; anything else on MLX's default device"
    )
    notes: list[str] = field(default_factory=list, repr=False, compare=False)
    places: dict[str, str] = field(default_factory=dict, repr=False, compare=False)
    all_given: bool = field(default=False, repr=False, compare=False)

    @property
    def lora(self) -> LoraConfig | None:
        return self.model.lora

    @property
    def trackers(self) -> list[str]:
        """Where metrics go besides metrics.jsonl."""
        named = [name for name in self.training.report_to if name != "none"]
        return [*dict.fromkeys([*named, *(["wandb"] if self.wandb.enabled else [])])]

    def fail(self, key: str, message: str) -> ConfigError:
        """The error to raise about a key, naming its line where the file gives it."""
        where = self.places.get(key) or self.places.get("", "configuration")
        return error_at(where, message)

    def to_dict(self) -> dict[str, Any]:
        """Plain values that `load_config` reads back equal."""
        values = dataclasses.asdict(self)
        for name in ("notes", "places", "all_given"):
            del values[name]
        return values


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
    rename(tree)
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
    config = _reader().dataclass(TrainConfig, read_yaml(Path(path)))
    config.dataset.saved = True
    config.all_given = True
    return config


def _reader() -> Reader:
    """What knows every key, of ours and of other trainers."""
    others = [*ALIASES, *IGNORED, *IGNORED_ADAPTERS, *REFUSED, *TRANSLATED]
    hints = dict(HINTS)
    for key in [*_own_keys(), *others]:
        section, _, name = key.rpartition(".")
        if section not in ("wandb", "advanced"):
            hints[name] = f"it belongs {f'in {section}' if section else 'at the top'}."
    # These stand in several sections.
    del hints["config"], hints["revision"]
    return Reader({**IGNORED, **IGNORED_ADAPTERS}, REFUSED, hints, others)


def _own_keys() -> Iterator[str]:
    for key, *_ in rows(TrainConfig):
        yield key


def read_config(tree: Node) -> TrainConfig:
    """The configuration of a parsed file, checked.

    Raises:
        ConfigError: see `load_config`.
    """
    from .rules import check

    notes = translate(tree)
    reader = _reader()
    config = reader.dataclass(TrainConfig, tree)
    config.notes, config.places = notes + reader.notes, {**reader.places, "": tree.where}
    check(config, tree)
    return config


def save_config(config: TrainConfig, path: Path) -> None:
    """Write a configuration as YAML, whole or not at all."""
    write_whole(path, write_yaml(config.to_dict()))


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
    key = key.strip()
    node.written = key if key in ALIASES else ""
    put(tree, ALIASES.get(key, key), node, where)


_PATHS = (
    ("model", "local_model_dir"),
    ("model", "cache_dir"),
    ("dataset", "dataset_path"),
    ("dataset", "feature_cache_dir"),
    ("training", "output_dir"),
    ("training", "resume_from_checkpoint"),
)


def _resolve_paths(config: TrainConfig, folder: Path) -> None:
    training = config.training
    if training.resume_from_checkpoint is True:
        training.resume_from_checkpoint = training.output_dir
        for key in ("", "training.output_dir"):
            if key in config.places:
                config.places["training.resume_from_checkpoint"] = config.places[key]
    training.resume_from_checkpoint = training.resume_from_checkpoint or None
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
