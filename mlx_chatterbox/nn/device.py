"""On which device work runs now, and what that device is good at."""

from __future__ import annotations

import shutil
from functools import cache

import mlx.core as mx


def on_cpu() -> bool:
    """Whether the default stream computes on the CPU (it changes inside `with mx.stream(...)`)."""
    return mx.default_device().type == mx.DeviceType.cpu


def is_half(*arrays: mx.array) -> bool:
    """Whether all are float16, or all bfloat16."""
    kinds = {array.dtype for array in arrays}
    return len(kinds) == 1 and kinds <= {mx.float16, mx.bfloat16}


@cache
def can_compile_on_cpu() -> bool:
    """Whether MLX can fuse elementwise kernels for the CPU: it calls the system's C++ compiler."""
    return shutil.which("g++") is not None or shutil.which("clang++") is not None
