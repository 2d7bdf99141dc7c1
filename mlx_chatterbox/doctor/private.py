"""Texts without names and paths, so that a report can be posted as it is."""

from __future__ import annotations

import getpass
import os
import re
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

HIDDEN = "<path>"
# An absolute path of POSIX or Windows; not the slash of "GB/s" or of "3 / 4".
_PATH = re.compile(r"(?<![\w<)\]])~?(?:/[\w.+@:~-]+)+/?|\b[A-Za-z]:\\[^\s'\"]+")
_REST = r"[\w.+@:~/-]*"
_QUOTED = re.compile(r"(['\"])(~?/|[A-Za-z]:\\)[^'\"\n]*\1")


def anonymous(text: object) -> str:
    """A foreign text (an exception's, a variable's) without folders, files, user and machine."""
    hidden = _QUOTED.sub(HIDDEN, str(text))
    for folder in sorted(set(_folders()), key=len, reverse=True):
        hidden = re.sub(re.escape(folder) + _REST, HIDDEN, hidden)
    hidden = _PATH.sub(HIDDEN, hidden)
    for name in _names():
        hidden = re.sub(rf"\b{re.escape(name)}\b", "<name>", hidden)
    return hidden


def _folders() -> Iterator[str]:
    """Folders whose paths may hold a name that somebody chose."""
    here = Path(__file__).resolve().parents[2]
    for folder in (Path.home, Path.cwd, lambda: here, tempfile.gettempdir):
        try:
            path = str(folder())
        except (OSError, RuntimeError):
            continue
        if len(path) > 1:
            yield path
    yield from (prefix for prefix in (sys.prefix, sys.base_prefix) if len(prefix) > 1)


def _names() -> set[str]:
    """Names of the user and the machine; those of one letter would hide half the alphabet."""
    names = {socket.gethostname(), socket.gethostname().split(".")[0]}
    # KeyError, OSError: a user that the system has no entry for.
    try:
        names.add(getpass.getuser())
    except (KeyError, OSError):
        names.add(os.environ.get("USER", ""))
    return {name for name in names if len(name) > 1}
