"""Standard output and standard error of our programs: they cannot do harm, and cannot stop work.

Both may be closed (`2>&-`), full (`> /dev/full`), left by their reader (`| head`), or of an
encoding that lacks the letters of a name. None of that is a reason not to write a file: what could
not be printed is remembered, and told at the end.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import sys
from collections.abc import Iterator
from typing import TextIO

from ..harmless import harmless

# How bars move on a terminal, before the text that they write: tqdm's, and those of the hub.
_MOVES = re.compile(r"\r|\n*(?:\x1b\[A)*")


class Stream:
    """A text stream of which everything is as before but `write` and `flush`.

    Attributes:
        was_closed: it was closed when the program began, and what is written goes nowhere.
        error: the first one that writing met; nothing is written after it.
    """

    def __init__(self, stream: TextIO | None):
        self.was_closed = stream is None
        self._nowhere: TextIO | None = None
        if stream is None:
            stream = self._nowhere = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
        self._stream: TextIO = stream
        self.error: Exception | None = None

    def write(self, text: str) -> int:
        if self.error is None:
            with self._remembered():
                shown = self._shown(text)
                try:
                    self._stream.write(shown)
                except UnicodeEncodeError:
                    encoding = self._stream.encoding or "ascii"
                    plain = shown.encode(encoding, "backslashreplace").decode(encoding)
                    self._stream.write(plain)
        return len(text)

    def _shown(self, text: str) -> str:
        moves = _MOVES.match(text) if self.isatty() else None
        end = moves.end() if moves is not None else 0
        return text[:end] + harmless(text[end:])

    def writelines(self, lines) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        if self.error is None:
            with self._remembered():
                self._stream.flush()

    def isatty(self) -> bool:
        try:
            return self._stream.isatty()
        except ValueError:  # closed meanwhile
            return False

    @contextlib.contextmanager
    def _remembered(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:
            self.error = error

    def __getattr__(self, name: str):
        return getattr(self._stream, name)

    def leave(self) -> None:
        """Write what waits. Where that fails, Python is not to try again when it ends."""
        self.flush()
        if self.error is not None and self._stream in (sys.__stdout__, sys.__stderr__):
            with contextlib.suppress(OSError, ValueError):
                _send_nowhere(self._stream.fileno())
        if self._nowhere is not None:
            self._nowhere.close()


def is_closed(stream: TextIO | None) -> bool:
    """Whether a standard stream was closed when the program began."""
    return stream is None or getattr(stream, "was_closed", False)


@contextlib.contextmanager
def guarded() -> Iterator[tuple[Stream, Stream]]:
    """Standard output and standard error, guarded within the block."""
    _fill_gaps()
    before = sys.stdout, sys.stderr
    ours = Stream(sys.stdout), Stream(sys.stderr)
    sys.stdout, sys.stderr = ours
    try:
        yield ours
    finally:
        sys.stdout, sys.stderr = before
        for stream in ours:
            stream.leave()


def write_problem(stream: Stream) -> str:
    """Why what was printed did not arrive; "" if it did, or nobody wanted it."""
    error = stream.error
    if error is None or isinstance(error, BrokenPipeError):
        return ""
    return getattr(error, "strerror", None) or str(error)


def _fill_gaps() -> None:
    # Else the next file that is opened gets the number of standard error, and its messages.
    for number in range(3):
        try:
            os.fstat(number)
        except OSError as error:
            if error.errno == errno.EBADF:
                with contextlib.suppress(OSError):
                    os.open(os.devnull, os.O_RDWR)


def _send_nowhere(number: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)
