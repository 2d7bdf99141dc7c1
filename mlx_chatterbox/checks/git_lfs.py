"""Git LFS pointers: short texts that a clone without Git LFS has in place of large files.

Source: https://github.com/git-lfs/git-lfs, docs/spec.md.
"""

from __future__ import annotations

import re
import stat
from pathlib import Path

from ..errors import ChatterboxError, CheckpointError

_POINTER = b"version https://git-lfs.github.com/spec/"
_POINTER_BYTES = 1024  # the specification's limit


def is_pointer(path: Path) -> bool:
    """Tell whether a file is a Git LFS pointer."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > _POINTER_BYTES:
            return False
        with path.open("rb") as file:
            return file.read(len(_POINTER)) == _POINTER
    except OSError:
        return False


def refuse_pointer(path: str | Path, error: type[ChatterboxError] = CheckpointError) -> None:
    """Raise `error` if a file is a Git LFS pointer; other pointers in its folder are named too."""
    path = Path(path)
    if not is_pointer(path):
        return
    size = re.search(rb"^size (\d+)", path.read_bytes(), re.MULTILINE)
    of = f" of {int(size[1]) / 1e6:.1f} MB" if size else ""
    others = [p.name for p in sorted(path.parent.iterdir()) if p != path and is_pointer(p)]
    more = f" (so are {', '.join(others[:5])}{', ...' if len(others) > 5 else ''})"
    raise error(
        f"{path} is a Git LFS pointer, not the file{of} itself{more if others else ''}: run "
        f"`git lfs pull` in {path.parent}, or download the files by `hf download OWNER/NAME "
        "--local-dir FOLDER`."
    )
