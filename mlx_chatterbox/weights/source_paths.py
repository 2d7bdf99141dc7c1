"""The folders on this machine from which checkpoints were converted.

`config.json` is published and must not reveal paths: it has only the name of the source's last
folder and the hashes of its files. The path itself is kept in the user's cache, under those hashes,
for the tools that compare a checkpoint with its source.
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
    """Note that files with these SHA-256, by name, lie in `folder`; drop outdated notes."""
    note = _note(hashes)
    with contextlib.suppress(OSError):
        note.parent.mkdir(parents=True, exist_ok=True)
        for other in note.parent.glob("*.txt"):
            if not _is_folder(other):
                other.unlink(missing_ok=True)
        write_whole(note, str(folder))


def recall(source: Mapping[str, Any]) -> Path | None:
    """Find the folder of a configuration's `source`; None if it is not on this machine."""
    with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
        folder = Path(_note(source.get("files", {})).read_text(encoding="utf-8"))
        if folder.is_dir():
            return folder
    return None


def _is_folder(note: Path) -> bool:
    """Tell whether the folder that a note names exists; False if the note is damaged."""
    try:
        return Path(note.read_text(encoding="utf-8")).is_dir()
    except ValueError:
        return False


def without_paths(source: Any) -> Any:
    """Reduce folders in a `source` to the last part of their names, for publication."""
    if not isinstance(source, Mapping):
        return source
    return {
        key: Path(value).name if key == "folder" else without_paths(value)
        for key, value in source.items()
    }


def _note(hashes: Mapping[str, str]) -> Path:
    lines = "".join(f"{name} {value}\n" for name, value in sorted(hashes.items()))
    return cache_folder() / "sources" / f"{hashlib.sha256(lines.encode()).hexdigest()[:32]}.txt"
