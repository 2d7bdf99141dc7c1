"""Standard output and error of our programs: they print no control sequences and stop no work.

Both may be closed (`2>&-`), full (`> /dev/full`), abandoned by their reader (`| head`), or have an
encoding without the letters of a name. None of that is a reason not to write a file: an error of
printing is remembered, and reported at the end.
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

# Control sequences with which progress bars (tqdm's, the hub's) begin their text on a terminal.
_MOVES = re.compile(r"\r|\n*(?:\x1b\[A)*")


class Stream:
    """A text stream with its own `write` and `flush`, and all else of the stream that it wraps.

    Attributes:
        was_closed: it was closed when the program began, and its text is discarded.
        error: the first error of writing; nothing is written after it.
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
        """Write buffered text; if that fails, keep Python from trying again when it ends."""
        self.flush()
        if self.error is not None and self._stream in (sys.__stdout__, sys.__stderr__):
            with contextlib.suppress(OSError, ValueError):
                _send_nowhere(self._stream.fileno())
        if self._nowhere is not None:
            self._nowhere.close()


def is_closed(stream: TextIO | None) -> bool:
    """Tell whether a standard stream was closed when the program began."""
    return stream is None or getattr(stream, "was_closed", False)


@contextlib.contextmanager
def guarded() -> Iterator[tuple[Stream, Stream]]:
    """Wrap standard output and standard error within the block."""
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
    """State why printed text was lost; "" if it was not, or its reader has left."""
    error = stream.error
    if error is None or isinstance(error, BrokenPipeError):
        return ""
    return getattr(error, "strerror", None) or str(error)


def _fill_gaps() -> None:
    # Or the next opened file would get the number of standard error, and its messages.
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
