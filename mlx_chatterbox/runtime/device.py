"""The device that work runs on now, and its abilities.

Code that computes differently on a CPU and on a GPU calls `device.on_cpu()` through this module,
never by a name imported from it: so one place decides, and with `pretend` a test (or the doctor)
runs the GPU's branches of the whole program on a machine without one.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import mlx.core as mx
import numpy as np

KINDS = ("cpu", "gpu")

_pretended: str | None = None


def on_cpu() -> bool:
    """Tell whether the default stream computes on the CPU; `with mx.stream(...)` changes it."""
    if _pretended is not None:
        return _pretended == "cpu"
    return mx.default_device().type == mx.DeviceType.cpu


def is_gpu_there() -> bool:
    """Tell whether MLX computes on a GPU by default, ignoring `pretend`."""
    return mx.default_device().type == mx.DeviceType.gpu


@contextmanager
def pretend(kind: str) -> Iterator[None]:
    """Decide as on a "cpu" or a "gpu" until the block ends, without a change of MLX's device.

    This holds for all threads of the process, so that they decide alike about work that one hands
    to another. MLX can compute every operation of the GPU's branches on a CPU too, only more
    slowly.

    Raises:
        ValueError: another kind.
    """
    global _pretended
    if kind not in KINDS:
        raise ValueError(f"pretend takes one of {', '.join(KINDS)}; got {kind!r}.")
    before, _pretended = _pretended, kind
    try:
        yield
    finally:
        _pretended = before


def product_error(size: int = 256) -> float:
    """Measure the relative RMS error of a float32 product of (size, size) matrices.

    On MLX's default device. It is about 1e-7 if MLX multiplies float32 as such. On newer GPUs MLX
    rounds factors to TF32's ten bits, unless `MLX_ENABLE_TF32=0` is set before its first product;
    then it is about 3e-4.
    """
    draw = np.random.default_rng(0)
    left, right = (draw.standard_normal((size, size), dtype=np.float32) for _ in range(2))
    exact = left.astype(np.float64) @ right.astype(np.float64)
    error = np.array(mx.array(left) @ mx.array(right)).astype(np.float64) - exact
    return float(np.sqrt((error**2).mean() / (exact**2).mean()))


def is_tf32(error: float) -> bool:
    """Tell whether a `product_error` is that of TF32, whose factors have ten bits."""
    return error > 1e-5


def is_half(*arrays: mx.array) -> bool:
    """Tell whether all arrays are float16, or all are bfloat16."""
    kinds = {array.dtype for array in arrays}
    return len(kinds) == 1 and kinds <= {mx.float16, mx.bfloat16}


@cache
def can_compile_on_cpu() -> bool:
    """Tell whether MLX can fuse elementwise kernels for the CPU, for which it runs `g++`.

    It is run to find out: a Mac without the Command Line Tools has a `g++` too, which only explains
    how to install them and fails.
    """
    try:
        done = subprocess.run(["g++", "--version"], capture_output=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0
