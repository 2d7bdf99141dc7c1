"""Where on this machine a checkpoint's source is.

`config.json` is published, and a path on somebody's disk is nobody's business: it has the name of
the source's last folder and the hashes of its files. The path itself is noted in the user's cache,
under those hashes, for the tools that compare a checkpoint with what it was made from.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..runtime.folders import cache_folder
from ..runtime.own_files import write_whole


def remember(hashes: Mapping[str, str], folder: Path) -> None:
    """Note that files of these SHA-256, by name, lie in `folder`; forget what is gone."""
    note = _note(hashes)
    with contextlib.suppress(OSError):
        note.parent.mkdir(parents=True, exist_ok=True)
        for other in note.parent.glob("*.txt"):
            if not _is_folder(other):
                other.unlink(missing_ok=True)
        write_whole(note, str(folder))


def recall(source: Mapping[str, Any]) -> Path | None:
    """The folder that a configuration's `source` stands for, if it is on this machine."""
    with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
        folder = Path(_note(source.get("files", {})).read_text(encoding="utf-8"))
        if folder.is_dir():
            return folder
    return None


def _is_folder(note: Path) -> bool:
    """Whether the folder that a note names is there; of a damaged note nothing is."""
    try:
        return Path(note.read_text(encoding="utf-8")).is_dir()
    except ValueError:
        return False


def without_paths(source: Any) -> Any:
    """A `source` as it may be published: of folders only the last part of the name."""
    if not isinstance(source, Mapping):
        return source
    return {
        key: Path(value).name if key == "folder" else without_paths(value)
        for key, value in source.items()
    }


def _note(hashes: Mapping[str, str]) -> Path:
    lines = "".join(f"{name} {value}\n" for name, value in sorted(hashes.items()))
    return cache_folder() / "sources" / f"{hashlib.sha256(lines.encode()).hexdigest()[:32]}.txt"
