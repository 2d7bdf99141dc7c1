"""Time work that MLX does, until it is really done."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import mlx.core as mx


def finish(result=None) -> None:
    """Wait until arrays, in any structure, are computed and the device has nothing left to do."""
    if result is not None:
        mx.eval(result)
    mx.synchronize()


def samples(
    work: Callable[[], object],
    repeats: int = 5,
    warm_up: int = 1,
    at_most: float = float("inf"),
) -> list[float]:
    """Seconds of each counted run.

    Args:
        work: returns the arrays that are to be computed, or None if it has computed them.
        repeats: runs that count; there is always one.
        warm_up: runs before those, for what is compiled, allocated or read for the first time.
        at_most: seconds, after which no further run is begun.
    """
    began = time.perf_counter()
    for _ in range(warm_up):
        finish(work())
        if time.perf_counter() - began > at_most:
            break
    seconds: list[float] = []
    while len(seconds) < max(1, repeats):
        finish()
        started = time.perf_counter()
        finish(work())
        ended = time.perf_counter()
        seconds.append(ended - started)
        if ended - began > at_most:
            break
    return seconds


def typical(work: Callable[[], object], **settings) -> float:
    """Median of `samples`, in seconds."""
    return median(samples(work, **settings))
