"""Writing of safetensors files, with the system's reason in errors."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import mlx.core as mx

# Bytes: with less free space the disk counts as full if a write failed without a reason.
_LEAST_FREE = 2**20


def save_arrays(
    path: Path, arrays: Mapping[str, mx.array], metadata: Mapping[str, str] | None = None
) -> None:
    """Write a safetensors file.

    Raises:
        OSError: it cannot be written. MLX raises RuntimeError then, without a reason.
    """
    try:
        mx.save_safetensors(str(path), dict(arrays), dict(metadata or {}))
    except RuntimeError as error:
        code, reason = _reason(path, error)
        raise OSError(code, reason, str(path)) from error


def _reason(path: Path, error: RuntimeError) -> tuple[int, str]:
    try:
        with path.open("ab"):  # as MLX does, but it raises the reason
            pass
        # A disk that has just become full has no room for anything now.
        full = shutil.disk_usage(path.parent).free < _LEAST_FREE
    except OSError as problem:
        return problem.errno or errno.EIO, problem.strerror or str(problem)
    if full:
        return errno.ENOSPC, os.strerror(errno.ENOSPC)
    return errno.EIO, f"{str(error).rstrip('.')}; is the disk full?"
