"""On which device work runs now, and what that device is good at.

Whatever is computed differently on a CPU and on a GPU asks `device.on_cpu()`, through this module,
never by a name copied from it: so one place decides, and `pretend` lets a test (or the doctor) take
the GPU's branches of the whole program on a machine without one.
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
    """Whether the default stream computes on the CPU (it changes inside `with mx.stream(...)`)."""
    if _pretended is not None:
        return _pretended == "cpu"
    return mx.default_device().type == mx.DeviceType.cpu


def is_gpu_there() -> bool:
    """Whether MLX computes on a GPU by default, whatever is pretended."""
    return mx.default_device().type == mx.DeviceType.gpu


@contextmanager
def pretend(kind: str) -> Iterator[None]:
    """Decide as on a "cpu" or a "gpu" until the block ends; MLX goes on computing where it did.

    Holds for all threads of the process: what one of them hands to another is decided alike. Any
    operation of the GPU's branches can be computed by MLX on a CPU too, only more slowly.

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
    """Relative RMS error of a float32 product of two (size, size) matrices on MLX's default device.

    About 1e-7 where float32 is multiplied as float32. MLX rounds factors to TF32's ten bits on
    newer GPUs unless `MLX_ENABLE_TF32=0` is set before its first product: then it is about 3e-4.
    """
    draw = np.random.default_rng(0)
    left, right = (draw.standard_normal((size, size), dtype=np.float32) for _ in range(2))
    exact = left.astype(np.float64) @ right.astype(np.float64)
    error = np.array(mx.array(left) @ mx.array(right)).astype(np.float64) - exact
    return float(np.sqrt((error**2).mean() / (exact**2).mean()))


def is_tf32(error: float) -> bool:
    """Whether a `product_error` is that of factors rounded to ten bits."""
    return error > 1e-5


def is_half(*arrays: mx.array) -> bool:
    """Whether all are float16, or all bfloat16."""
    kinds = {array.dtype for array in arrays}
    return len(kinds) == 1 and kinds <= {mx.float16, mx.bfloat16}


@cache
def can_compile_on_cpu() -> bool:
    """Whether MLX can fuse elementwise kernels for the CPU: it calls `g++`, if that runs.

    It is run, as MLX does: a Mac without the Command Line Tools has a `g++` all the same, which
    says how to install them and fails.
    """
    try:
        done = subprocess.run(["g++", "--version"], capture_output=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0
