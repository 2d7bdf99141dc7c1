"""Limits of this machine, measured through MLX, and the device that is used."""

from __future__ import annotations

import time
from collections.abc import Callable

import mlx.core as mx

from .errors import BenchmarkError

REPEATS = 10
# Half a gigabyte, far beyond any cache; and a product large enough for every core.
READ_SHAPE = (16384, 8192)
PRODUCT_SIZE = 2048


def default_device() -> str:
    """MLX's default device: "cpu", or "gpu" where it has one."""
    return mx.default_device().type.name


def use_device(device: str) -> None:
    """Compute on the "cpu" or on the "gpu".

    Raises:
        BenchmarkError: this build of MLX has no GPU.
    """
    if device == "gpu" and not mx.is_available(mx.gpu):
        raise BenchmarkError("--device gpu: MLX has no GPU here.")
    mx.set_default_device(mx.cpu if device == "cpu" else mx.gpu)


def device_memory() -> int | None:
    """Peak memory of the GPU in bytes; None on the CPU, where the process's counts."""
    return None if mx.default_device() == mx.Device(mx.cpu) else mx.get_peak_memory()


def limits() -> dict[str, float]:
    """The fastest of ten: reading a float32 matrix for one vector (bytes/s), as a decoding step
    reads its weights; and a product of two float32 matrices (operations/s)."""
    matrix, vector = mx.random.normal(READ_SHAPE), mx.random.normal((1, READ_SHAPE[1]))
    square = mx.random.normal((PRODUCT_SIZE, PRODUCT_SIZE))
    mx.eval(matrix, vector, square)
    return {
        "bytes_per_second": matrix.nbytes / _fastest(lambda: vector @ matrix.T),
        "flops_per_second": 2 * PRODUCT_SIZE**3 / _fastest(lambda: square @ square),
    }


def _fastest(work: Callable[[], mx.array]) -> float:
    seconds = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        mx.eval(work())
        seconds.append(time.perf_counter() - started)
    return min(seconds)
