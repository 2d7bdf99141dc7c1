"""Progress on standard error: one line for each step, and a bar for those that take long."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from tqdm import tqdm


@contextlib.contextmanager
def phase(name: str) -> Iterator[Callable[[int, int], None]]:
    """Time a step: a bar on a terminal while it runs, one line with its seconds when it ends.

    Yields:
        A callback (bytes done, bytes in total) that moves the bar.
    """
    start = time.perf_counter()
    with tqdm(
        desc=name, unit="B", unit_scale=True, leave=False, disable=not sys.stderr.isatty()
    ) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield progress
    say(f"{name}: {time.perf_counter() - start:.1f} s")


def say(line: str) -> None:
    """Print a line to standard error, where it does not mix with the result."""
    print(line, file=sys.stderr, flush=True)
