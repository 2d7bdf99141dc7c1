"""Reads files whose paths come on standard input, for `tests/fuzzing.py`, and prints the result of
each: `python -m tests.fuzz_worker MODULE READER`."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import resource
import sys
import traceback
import warnings
from pathlib import Path


def main() -> None:
    module, name = sys.argv[1:]
    # Output of readers must not come between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(answer: str, details: str) -> None:
        print(json.dumps([answer, details]), file=answers, flush=True)

    warnings.simplefilter("ignore")
    try:
        (reader,) = (r for r in importlib.import_module(module).READERS if r.name == name)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        bound_memory(4 * reader.megabytes)
        say("read", "ready")
    except BaseException:
        say("it cannot start", traceback.format_exc())
        raise
    most = peak_megabytes() + reader.megabytes
    for line in sys.stdin:
        answer, details = "read", ""
        try:
            reader.read(Path(line.rstrip("\n")))
        except reader.refuses as error:
            answer, details = "refused", str(error)
            if "\n" in details.strip() or len(details) > 2000:
                answer = f"a message that is not one line: {type(error).__name__}"
        except BaseException as error:
            details = traceback.format_exc()
            answer = f"{type(error).__name__} in {_place(error)}"
        if peak_megabytes() > most:
            answer = f"more than {reader.megabytes} MB"
        say(answer, details)


def bound_memory(megabytes: int) -> None:
    """Have allocations beyond an added limit fail, where the system can."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except OSError:
        return
    most = pages * resource.getpagesize() + megabytes * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def peak_megabytes() -> float:
    """The most memory that this process has had in use."""
    # Linux counts what the parent had in use before this program took its place, but not here.
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def _place(error: BaseException) -> str:
    """The place of an exception: the innermost line of our own code."""
    frames = traceback.extract_tb(error.__traceback__)
    root = str(Path(__file__).parent.parent)
    ours = [f for f in frames if f.filename.startswith(root) and "site-packages" not in f.filename]
    frame = ours[-1] if ours else frames[-1]
    return f"{os.path.relpath(frame.filename, root)}:{frame.lineno}"


if __name__ == "__main__":
    main()
