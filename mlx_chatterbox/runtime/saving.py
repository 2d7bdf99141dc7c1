"""Tensors into safetensors files, whose errors say what the system said."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import mlx.core as mx

# Bytes: with less room a disk counts as full where nothing says why it took no file.
_LEAST_FREE = 2**20


def save_arrays(
    path: Path, arrays: Mapping[str, mx.array], metadata: Mapping[str, str] | None = None
) -> None:
    """Write a safetensors file.

    Raises:
        OSError: the disk does not take it. MLX says so by RuntimeError, without a reason.
    """
    try:
        mx.save_safetensors(str(path), dict(arrays), dict(metadata or {}))
    except RuntimeError as error:
        code, reason = _reason(path, error)
        raise OSError(code, reason, str(path)) from error


def _reason(path: Path, error: RuntimeError) -> tuple[int, str]:
    try:
        with path.open("ab"):  # as MLX opened it, with a reason
            pass
        # A disk that has just become full has no room for anything now.
        full = shutil.disk_usage(path.parent).free < _LEAST_FREE
    except OSError as found:
        return found.errno or errno.EIO, found.strerror or str(found)
    if full:
        return errno.ENOSPC, os.strerror(errno.ENOSPC)
    return errno.EIO, f"{str(error).rstrip('.')}; is the disk full?"
