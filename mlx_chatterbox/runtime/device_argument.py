"""Upstream's `device` arguments: their values, and computing on that device."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator
from typing import Any

import mlx.core as mx

from .threads import compute_in_this_thread

DEVICES = ("cpu", "gpu", "cuda", "mps")


def is_device(name) -> bool:
    """Tell whether a first argument is one of upstream's device names rather than a model."""
    return isinstance(name, str) and name.split(":")[0] in DEVICES


def on_device(device: str | None):
    """Return a context for computing: on the CPU for "cpu", else on MLX's default device."""
    compute_in_this_thread()
    if device is not None and device.split(":")[0] == "cpu":
        return mx.stream(mx.cpu)
    return contextlib.nullcontext()


def computed_on(device: str | None, results: Iterator[Any]) -> Generator[Any]:
    """Yield each of the results, computed `on_device`; closing this generator closes theirs.

    The device is chosen again for each result, so that the caller's own work is not affected.
    """
    try:
        while True:
            with on_device(device):
                try:
                    result = next(results)
                except StopIteration:
                    return
            yield result
    finally:
        if isinstance(results, Generator):
            results.close()
