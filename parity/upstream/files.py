"""Upstream's files that a model is made of, or was converted from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mlx_chatterbox.models.config import CONFIG_NAME, ModelConfig
from mlx_chatterbox.weights.conversion.sources import find_source
from mlx_chatterbox.weights.hub import is_converted
from mlx_chatterbox.weights.source_paths import recall

from ..errors import ParityError


@dataclass(frozen=True)
class Upstream:
    """A folder of upstream's files, and the model in it."""

    folder: Path
    variant: str
    t3_file: str


def upstream_of(
    folder: str | Path, variant: str | None = None, t3_file: str | None = None
) -> Upstream:
    """Find upstream's files: the folder itself, or the one it was converted from.

    Args:
        variant, t3_file: which model in a folder of upstream's, as in `convert`.

    Raises:
        ParityError: a converted checkpoint whose source was a repository, or is gone.
        CheckpointError: upstream's files are not there.
    """
    folder = Path(folder)
    if not is_converted(folder):
        row = find_source(folder, variant, t3_file)
        return Upstream(folder, row.name, row.t3_file)
    config = ModelConfig.load(folder)
    source = recall(config.source) or _stated_folder(config.source)
    if source is None:
        raise ParityError(
            f"{folder} is a converted checkpoint ({CONFIG_NAME}) and its original files are not "
            "here; the torch backend needs a folder in upstream's format."
        )
    row = find_source(source, config.variant, _converted_t3(config.source.get("files", {})))
    return Upstream(source, row.name, row.t3_file)


def _stated_folder(source: Mapping[str, object]) -> Path | None:
    """Folder whose whole path conversions by earlier versions noted."""
    folder = Path(str(source.get("folder", "")))
    return folder if folder.is_absolute() and folder.is_dir() else None


def _converted_t3(files: Mapping[str, str]) -> str | None:
    """Name of T3's file among those that a checkpoint was converted from."""
    others = ("s3gen", "ve.")
    names = [n for n in files if n.endswith(".safetensors") and not n.startswith(others)]
    return names[0] if len(names) == 1 else None
