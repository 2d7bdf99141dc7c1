"""The frame of all our programs: errors in one line, exit codes, Ctrl-C, standard streams.

Tracebacks, also of other threads and of destructors, are shown only with `--verbose`. Errors that a
user can cause have messages of their own; any other is reported as a bug of ours.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import re
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator

from ..harmless import one_line
from . import streams
from .begin import CODE as INTERRUPTED
from .begin import is_program
from .option_rules import parse

# Advice for errors of the system.
_ADVICE = {
    errno.ENOSPC: "make room, or write elsewhere",
    errno.EDQUOT: "make room, or write elsewhere",
    errno.EROFS: "nothing can be written there: write elsewhere",
    errno.EACCES: "look at its permissions, or choose another place",
    errno.EPERM: "look at its permissions, or choose another place",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EMFILE: "too many files are open: see `ulimit -n`",
}
_NO_MEMORY = re.compile(r"unable to allocate|attempting to allocate|bad_alloc|out of memory", re.I)
_BUG = (
    "this is a bug of mlx-chatterbox: {what}. --verbose shows where: please report that, with "
    "the command, in the repository's issues (if a file from elsewhere caused it: SECURITY.md)"
)


def run_program(
    parser: argparse.ArgumentParser,
    argv: list[str] | None,
    work: Callable[[argparse.Namespace], int | None],
    name: str | None = None,
) -> int:
    """Parse the arguments, do the work, and report any error in one line.

    Args:
        work: returns the exit code, or None for 0. Its arguments may have `verbose`.
        name: beginning of lines on standard error; None: the parser's `prog`; "": nothing.

    Returns:
        0 done, 1 failed (also if standard output could not be written), 130 interrupted, or the
        code that `work` returned. Wrong use exits with 2, by argparse.
    """
    name = parser.prog if name is None else name
    with (
        streams.guarded() as (output, _),
        _interrupts() as interrupts,
        _uncaught_errors(name) as uncaught,
    ):
        code = 1
        try:
            code = _run(parser, argv, work, name, interrupts, uncaught) or int(uncaught.failed)
        except SystemExit as end:
            output.flush()
            if end.code in (0, None) and streams.write_problem(output):
                raise SystemExit(_lost(name, output)) from None
            raise
        output.flush()
        if streams.write_problem(output):
            return code or _lost(name, output)
    return code


def _run(parser, argv, work, name: str, interrupts: list[bool], uncaught: _UncaughtErrors) -> int:
    verbose = False
    try:
        arguments = parse(parser, argv)
        uncaught.verbose = verbose = getattr(arguments, "verbose", False)
        with warnings.catch_warnings():
            if not verbose:
                warnings.showwarning = lambda message, *_: _say(name, f"note: {message}")
            return work(arguments) or 0
    except KeyboardInterrupt as error:
        message = str(error)
    except Exception as error:
        if not interrupts:
            if verbose:
                _show_traceback()
            _say(name, f"error: {explained(error)}")
            return 1
        # Caused by Ctrl-C: NumPy's import, for one, turns it into an ImportError.
        message = ""
    _say(name, message or "interrupted; nothing was written")
    return INTERRUPTED


class _UncaughtErrors:
    """Reports uncaught errors in threads and destructors, in one line each.

    Attributes:
        failed: an error has ended a thread, so that its work was not done.
    """

    def __init__(self, name: str):
        self._name, self.verbose, self.failed = name, False, False
        self._before = threading.excepthook, sys.unraisablehook

    def thread_hook(self, event: threading.ExceptHookArgs) -> None:
        if issubclass(event.exc_type, SystemExit):
            return
        self.failed = True
        self._report(event.exc_value, event.exc_type, "error", self._before[0], event)

    def destructor_hook(self, event: sys.UnraisableHookArgs) -> None:
        self._report(event.exc_value, event.exc_type, "note", self._before[1], event)

    def _report(self, error, kind: type, what: str, before: Callable, event) -> None:
        if self.verbose:
            before(event)
        if isinstance(error, Exception):
            _say(self._name, f"{what}: {explained(error)}")
        elif not self.verbose:
            _say(self._name, f"{what}: {kind.__name__}")


@contextlib.contextmanager
def _uncaught_errors(name: str) -> Iterator[_UncaughtErrors]:
    """Report errors in threads and destructors in one line each, within the block.

    If this process is a program of ours, until it ends.
    """
    before = threading.excepthook, sys.unraisablehook
    uncaught = _UncaughtErrors(name)
    threading.excepthook, sys.unraisablehook = uncaught.thread_hook, uncaught.destructor_hook
    try:
        yield uncaught
    finally:
        if not is_program():
            threading.excepthook, sys.unraisablehook = before


def _show_traceback() -> None:
    import traceback  # is not needed to start

    traceback.print_exc()


def explained(error: Exception) -> str:
    """Explain an error to the user in one line."""
    if getattr(error, "tells_all", False):
        return one_line(error)
    kind, text = type(error).__name__, one_line(error)
    if isinstance(error, MemoryError) or _NO_MEMORY.search(text):
        more = f" ({text})" if text else ""
        return f"there is not enough memory{more}: close other programs, or process less at once"
    if isinstance(error, RecursionError):
        return f"an input is nested too deeply to be read ({text}); --verbose shows where"
    if isinstance(error, OSError):
        return _explained_by_system(error)
    return _BUG.format(what=f"{kind}: {text}" if text else kind)


def _explained_by_system(error: OSError) -> str:
    reason = one_line(error.strerror or error)
    names = [one_line(name) for name in (error.filename, error.filename2) if name is not None]
    where = f"{' -> '.join(names)}: " if names else ""
    advice = f"; {_ADVICE[error.errno]}" if error.errno in _ADVICE else ""
    return f"{where}{reason}{advice}"


def _say(program: str, text: str) -> None:
    print(f"{program}: {one_line(text)}" if program else one_line(text), file=sys.stderr)


def _lost(program: str, output: streams.Stream) -> int:
    why = streams.write_problem(output)
    _say(program, f"error: standard output could not be written ({why}); files are whole")
    return 1


@contextlib.contextmanager
def _interrupts() -> Iterator[list[bool]]:
    """Yield a list that is not empty once Ctrl-C was pressed within the block."""
    pressed: list[bool] = []

    def press(*_) -> None:
        pressed.append(True)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield pressed  # signals come to the main one alone
        return
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN or before is None:  # as nohup and a shell's & have it
        yield pressed
        return
    signal.signal(signal.SIGINT, press)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)
