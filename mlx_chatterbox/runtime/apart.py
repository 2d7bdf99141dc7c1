"""Detection of outputs that would overwrite an input or each other, before anything is written."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from ..errors import SettingError

# A name for people, such as "--output out.wav", and the file; None: there is none.
Named = tuple[str, Path | None]


def is_same_file(one: Path, other: Path) -> bool:
    """Tell whether two paths are the same file, in any spelling and through any link.

    Paths that do not exist yet count as the same if they would be on a disk that ignores case and
    the encoding of accents.
    """
    try:
        return os.path.samefile(one, other)
    except OSError:
        pass
    if one.exists() or other.exists():
        return False  # the disk distinguishes the two spellings
    one, other = Path(os.path.realpath(one)), Path(os.path.realpath(other))
    if _folded(one.name) != _folded(other.name):
        return False
    return one.parent == other.parent or is_same_file(one.parent, other.parent)


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def is_within(path: Path, folder: Path) -> bool:
    """Tell whether a path is a folder or lies anywhere below it, with links resolved."""
    path, folder = Path(os.path.realpath(path)), Path(os.path.realpath(folder))
    return any(is_same_file(one, folder) for one in (path, *path.parents))


def check_apart(outputs: Iterable[Named], inputs: Iterable[Named]) -> None:
    """Check that no output is an input or another output.

    Raises:
        SettingError: one is; the message names both.
    """
    written = [(name, path) for name, path in outputs if path is not None]
    read = [(name, path) for name, path in inputs if path is not None]
    for at, (name, path) in enumerate(written):
        for other_name, other in read:
            if is_same_file(path, other):
                raise SettingError(
                    f"{name} is the same file as {other_name}, which is read and would be "
                    "destroyed: name another."
                )
        for other_name, other in written[:at]:
            if is_same_file(path, other):
                raise SettingError(
                    f"{name} is the same file as {other_name}, which is written too: name another."
                )
