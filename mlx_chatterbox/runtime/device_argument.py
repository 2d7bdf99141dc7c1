"""Upstream's `device` arguments: which there are, and computing where they say."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import mlx.core as mx

from .threads import compute_in_this_thread

DEVICES = ("cpu", "gpu", "cuda", "mps")


def is_device(name) -> bool:
    """Whether a first argument is one of upstream's device names rather than a model."""
    return isinstance(name, str) and name.split(":")[0] in DEVICES


def on_device(device: str | None):
    """Compute on the CPU where that was asked for, else on MLX's default device."""
    compute_in_this_thread()
    if device is not None and device.split(":")[0] == "cpu":
        return mx.stream(mx.cpu)
    return contextlib.nullcontext()


def computed_on(device: str | None, results: Iterator) -> Iterator:
    """What a generator yields, each computed `on_device`; closing this one closes it.

    The device is chosen anew for each result: whoever takes them must not be affected.
    """
    with contextlib.closing(results):
        while True:
            with on_device(device):
                try:
                    result = next(results)
                except StopIteration:
                    return
            yield result
