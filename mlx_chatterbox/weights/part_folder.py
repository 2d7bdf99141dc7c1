"""Folders with one part of a model: `config.json` and `model.safetensors`, read and written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx

from ..checks.json_file import read_json
from ..checks.safetensors_header import load_safetensors
from ..errors import CheckpointError
from ..models.config import CONFIG_NAME
from ..runtime.own_files import whole_file, write_whole
from .hub import WEIGHTS_NAME


def read_part_config(folder: Path) -> dict[str, Any]:
    """Read `config.json`; empty if there is none.

    Raises:
        CheckpointError: it cannot be read.
    """
    path = folder / CONFIG_NAME
    if not path.is_file():
        return {}
    values = read_json(path, object)
    return values if isinstance(values, dict) else {}


def read_tensors(path: Path) -> dict[str, mx.array]:
    """Map the tensors of a file; each is read when it is used.

    Raises:
        CheckpointError: missing or damaged.
    """
    return load_safetensors(path)


def write_part(
    folder: str | Path,
    tensors: Mapping[str, mx.array],
    values: Mapping[str, Any],
    made_for: str = "mlx",
) -> Path:
    """Write the weights, then the configuration, each whole or not at all; other files stay.

    Args:
        folder: made if it does not exist.
        made_for: the library whose layout the tensors have, as the file states it: "mlx" or "pt".

    Raises:
        CheckpointError: it cannot be written.
    """
    folder = Path(folder).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # They may still be unread, and in the very file that is replaced.
        mx.eval(dict(tensors))
        with whole_file(folder / WEIGHTS_NAME, ".safetensors", clean=True) as file:
            mx.save_safetensors(file.name, dict(tensors), {"format": made_for})
        write_whole(folder / CONFIG_NAME, json.dumps(values, indent=2) + "\n", clean=True)
    except (OSError, RuntimeError) as error:
        raise CheckpointError(f"{folder} cannot be written: {error}.") from None
    return folder
