"""Files that appear whole or not at all, where others may have prepared the folder.

What the library has for this (`mlx_chatterbox/runtime/own_files.py`) is not there where upstream's
package runs: these modules are imported beside PyTorch alone.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A new, empty file beside `path`, of a random name, to write into by its name; it takes the
    name `path` when the block ends (a link of that name is replaced, not followed), and is removed
    if the block fails.

    Raises:
        OSError: the folder is not there or cannot be written.
    """
    temporary = path.with_name(f".{os.urandom(8).hex()}.tmp")
    os.close(os.open(temporary, _NEW, 0o666))
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a file of text, whole or not at all; see `whole_file`."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
