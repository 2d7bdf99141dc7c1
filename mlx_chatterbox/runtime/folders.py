"""Where things are kept on this machine."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """What can be made again: converted checkpoints, compiled kernels (XDG's convention).

    A relative `XDG_CACHE_HOME` does not count, as the convention says: it would be another folder
    wherever a program is started, and perhaps somebody else's.

    Raises:
        RuntimeError: there is no home directory.
    """
    base = os.environ.get("XDG_CACHE_HOME") or ""
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "mlx-chatterbox"
