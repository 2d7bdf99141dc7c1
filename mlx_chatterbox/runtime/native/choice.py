"""The number of rows up to which a product is faster here than in OpenBLAS, measured once."""

from __future__ import annotations

import ctypes
import time
from contextlib import suppress
from pathlib import Path

from ..own_files import write_whole

# Arguments of `cblas_sgemm`: row-major, the first matrix as it is, the second one transposed.
LAYOUT = (101, 111, 112)

# Numbers of rows, tried one after the other. OpenBLAS loses a fixed time by copying the weights,
# which `many_rows.c` does not, so once it is faster it is so for all larger numbers.
_LADDER = (32, 64, 128, 192, 256, 512)
_ALL = 2**30
# Both sides of the weight, as in T3.
_SIZE = 1024
_ROUNDS = 7
# By this factor it must be faster: smaller weights gain less.
_CLEARLY = 0.95


def most_rows(library: ctypes.CDLL, blas: ctypes.CDLL, folder: Path) -> int:
    """Determine how many rows `library` should multiply itself; 0 if OpenBLAS is always faster.

    The number is kept in `folder`, for the kernels that the BLAS uses: measured by every process it
    would vary, and with it the last bits of results.
    """
    blas.openblas_get_corename.restype = ctypes.c_char_p
    verdict = folder / f"rows-{blas.openblas_get_corename().decode()}"
    with suppress(OSError, ValueError):
        return int(verdict.read_text())
    rows = _measure(library, blas)
    with suppress(OSError):
        write_whole(verdict, str(rows))
    return rows


def _measure(library: ctypes.CDLL, blas: ctypes.CDLL) -> int:
    """Measure on one thread, by its processor time, as the machine may be busy."""
    most = 0
    threads = blas.openblas_get_num_threads()
    blas.openblas_set_num_threads(1)
    library.take_rows(_ALL)
    try:
        for rows in _LADDER:
            own_seconds, blas_seconds = _seconds(library, blas, rows)
            if own_seconds > _CLEARLY * blas_seconds:
                return most
            most = rows
        return _ALL
    finally:
        blas.openblas_set_num_threads(threads)


def _seconds(library: ctypes.CDLL, blas: ctypes.CDLL, rows: int) -> tuple[float, float]:
    """Time products by two weights in each library in turns, and return the best of some rounds."""
    x, out = _filled(rows), _filled(rows)
    weights = [_filled(_SIZE) for _ in range(2)]
    one, none = ctypes.c_float(1.0), ctypes.c_float(0.0)
    best = [float("inf")] * 2
    for _ in range(_ROUNDS):
        for index, product in enumerate((library.cblas_sgemm, blas.cblas_sgemm)):
            started = time.thread_time()
            for weight in weights:
                sizes = (rows, _SIZE, _SIZE)
                product(*LAYOUT, *sizes, one, x, _SIZE, weight, _SIZE, none, out, _SIZE)
            best[index] = min(best[index], time.thread_time() - started)
    return best[0], best[1]


def _filled(rows: int) -> ctypes.Array:
    """Allocate (rows, `_SIZE`) floats, all of them 0.747.

    Without NumPy, whose BLAS would be loaded while the environment is set for another.
    """
    array = (ctypes.c_float * (rows * _SIZE))()
    ctypes.memset(array, 0x3F, ctypes.sizeof(array))
    return array
