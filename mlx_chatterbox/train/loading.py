"""Reads the training configuration: one YAML file, read into `sections` and checked for
`contradictions`.

Unknown keys, wrong types and settings that contradict each other are errors with the line.
Nothing here imports MLX.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ..errors import ConfigError
from ..runtime.own_files import write_whole
from .config import TrainConfig
from .config_options import ConfigReader, rows
from .contradictions import check
from .spellings import ALIASES, HINTS, IGNORED, IGNORED_ADAPTERS, REFUSED
from .translate import TRANSLATED, put, rename, translate
from .yaml_lines import Node, parse, read_yaml, write_yaml


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> TrainConfig:
    """Read a YAML file.

    Args:
        overrides: settings such as "training.learning_rate=5e-5" that override the file's.

    Returns:
        The configuration, with absolute paths; relative ones start from the file's folder, those of
        overrides from the current one.

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
    """Read a file of `save_config`, in which every key is set and every path is absolute.

    It was checked before it was saved. Rules that depend on which keys are set do not apply to it.
    """
    config = _reader().dataclass(TrainConfig, read_yaml(Path(path)))
    config.dataset.saved = True
    config.all_given = True
    return config


def _reader() -> ConfigReader:
    """Make a reader that knows every key of ours and of other trainers."""
    others = [*ALIASES, *IGNORED, *IGNORED_ADAPTERS, *REFUSED, *TRANSLATED]
    hints = dict(HINTS)
    for key in [*_own_keys(), *others]:
        section, _, name = key.rpartition(".")
        if section not in ("wandb", "advanced"):
            hints[name] = f"it belongs {f'in {section}' if section else 'at the top'}."
    # Keys of several sections.
    del hints["config"], hints["revision"]
    return ConfigReader({**IGNORED, **IGNORED_ADAPTERS}, REFUSED, hints, others)


def _own_keys() -> Iterator[str]:
    for key, *_ in rows(TrainConfig):
        yield key


def read_config(tree: Node) -> TrainConfig:
    """Build the configuration of a parsed file, and check it.

    Raises:
        ConfigError: see `load_config`.
    """
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
