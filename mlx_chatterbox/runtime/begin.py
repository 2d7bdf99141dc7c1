"""A program of ours while it is still being imported: Ctrl-C, and warnings.

There a KeyboardInterrupt is no answer: within the import of NumPy it becomes an ImportError that
advises to install NumPy anew. Nothing is written yet, so the process can end at once. Who imports
the package into a program of their own keeps their own handling; `runtime/program.py` does the
rest. What importing warns of is a line, as later.
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
    """If this process is a program of ours, end at once on Ctrl-C, and warn in one line."""
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
    """Whether Python was started as `mlx-chatterbox...` or `-m` one of our packages."""
    name = sys.argv[0] if sys.argv else ""
    if name != "-m":
        return os.path.basename(name).startswith("mlx-chatterbox")
    # While packages are looked for; the module's name stands in what Python was started with.
    words = sys.orig_argv
    for at, word in enumerate(words[1:], start=1):
        if word.startswith("-m"):
            module = word[2:] or (words[at + 1] if at + 1 < len(words) else "")
            return module.partition(".")[0] in _PACKAGES
    return False


def _end(*_) -> None:
    with contextlib.suppress(OSError):  # nobody reads it
        os.write(2, b"interrupted; nothing was written\n")
    os._exit(CODE)


# When it is imported: the imports that follow are what it is for.
prepare()
