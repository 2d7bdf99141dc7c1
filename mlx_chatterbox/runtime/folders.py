"""The library's folders on this machine."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return the folder for files that can be made again: converted checkpoints, compiled kernels.

    By XDG's convention, which ignores a relative `XDG_CACHE_HOME`: that would be another folder in
    every working directory, and perhaps another user's.

    Raises:
        RuntimeError: there is no home directory.
    """
    base = os.environ.get("XDG_CACHE_HOME") or ""
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "mlx-chatterbox"
