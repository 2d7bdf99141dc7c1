"""Ctrl-C and warnings in a program of ours while it is still being imported.

A KeyboardInterrupt does not help then: within the import of NumPy it becomes an ImportError that
advises reinstalling NumPy. Nothing is written yet, so the process ends at once. Warnings of imports
are single lines, as later, when `runtime/program.py` takes over. Other programs that import the
package keep their own handling of both.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import warnings
from typing import TextIO

CODE = 130
_PACKAGES = ("mlx_chatterbox", "convert", "parity", "benchmarks")


def prepare() -> None:
    """Make a program of ours end at once on Ctrl-C, and warn in one line; change no others."""
    if not is_program():
        return
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)
    if "--verbose" not in sys.argv:
        warnings.showwarning = _note


def _note(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            print(f"note: {message}", file=sys.stderr)


def is_program() -> bool:
    """Tell whether Python was started as `mlx-chatterbox...` or `-m` with one of our packages."""
    name = sys.argv[0] if sys.argv else ""
    if name != "-m":
        return os.path.basename(name).startswith("mlx-chatterbox")
    # The first argument is still "-m" while packages are searched; Python's own arguments name
    # them.
    words = sys.orig_argv
    for at, word in enumerate(words[1:], start=1):
        if word.startswith("-m"):
            module = word[2:] or (words[at + 1] if at + 1 < len(words) else "")
            return module.partition(".")[0] in _PACKAGES
    return False


def _end(*_) -> None:
    with contextlib.suppress(OSError):  # standard error is closed
        os.write(2, b"interrupted; nothing was written\n")
    os._exit(CODE)


# On import: it is for the imports that follow.
prepare()
