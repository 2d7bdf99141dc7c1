"""Folders with one part of a model: `config.json` and `model.safetensors`, read and written."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx

from .config import CONFIG_NAME
from .errors import CheckpointError
from .hub import WEIGHTS_NAME
from .shards import refuse_pointer


def read_config(folder: Path) -> dict[str, Any]:
    """What `config.json` says; nothing where there is none.

    Raises:
        CheckpointError: it cannot be read.
    """
    path = folder / CONFIG_NAME
    if not path.is_file():
        return {}
    refuse_pointer(path)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}.") from None
    return values if isinstance(values, dict) else {}


def read_tensors(path: Path) -> dict[str, mx.array]:
    """Tensors of a file, read when they are used.

    Raises:
        CheckpointError: missing or damaged.
    """
    refuse_pointer(path)
    try:
        return mx.load(str(path), format="safetensors")
    except (RuntimeError, ValueError) as error:
        raise CheckpointError(f"{path} is missing, damaged or cut short: {error}") from None


def write_part(
    folder: str | Path,
    tensors: Mapping[str, mx.array],
    values: Mapping[str, Any],
    made_for: str = "mlx",
) -> Path:
    """Write the weights, then the configuration, each whole or not at all; other files stay.

    Args:
        folder: made if it is not there.
        made_for: the library whose layout the tensors have, noted in the file: "mlx" or "pt".

    Raises:
        CheckpointError: it cannot be written.
    """
    folder = Path(folder).expanduser()
    temporary = folder / f".tmp-{os.getpid()}.safetensors"
    stated = temporary.with_suffix(".json")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # They may still be unread, and in the very file that is replaced.
        mx.eval(dict(tensors))
        mx.save_safetensors(str(temporary), dict(tensors), {"format": made_for})
        os.replace(temporary, folder / WEIGHTS_NAME)
        stated.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
        os.replace(stated, folder / CONFIG_NAME)
    except (OSError, RuntimeError) as error:
        raise CheckpointError(f"{folder} cannot be written: {error}.") from None
    finally:
        for left in (temporary, stated):
            with contextlib.suppress(OSError):
                left.unlink()
    return folder
