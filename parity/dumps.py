"""Reading and writing dumps: one safetensors file of NumPy arrays, whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from .errors import DumpError
from .whole_file import whole_file


def read_dump(path: str | Path) -> dict[str, np.ndarray]:
    """Every tensor of a dump by name.

    Raises:
        DumpError: no such file, or no safetensors file.
    """
    return read_dump_with_metadata(path)[0]


def read_dump_with_metadata(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Every tensor of a dump, and its backend's metadata (versions, for example)."""
    if not Path(path).is_file():
        raise DumpError(f"{path}: no such file.")
    try:
        with safe_open(str(path), framework="np") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, dict(file.metadata() or {})
    except (SafetensorError, OSError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]  # it may quote all of the file
        raise DumpError(f"{path} is not a readable safetensors file: {reason}.") from error


def write_dump(
    path: str | Path,
    tensors: Mapping[str, np.ndarray],
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Write `tensors` to `path`, whole or not at all.

    Raises:
        DumpError: the folder does not exist or cannot be written.
    """
    path = Path(path)
    arrays = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
    try:
        with whole_file(path) as temporary:
            save_file(arrays, str(temporary), metadata=dict(metadata or {}))
    except (OSError, SafetensorError) as error:
        raise DumpError(f"{path} cannot be written: {error}.") from error
    return path
