"""Up to how many rows a product is faster here than in OpenBLAS, found out once on a machine."""

from __future__ import annotations

import ctypes
import time
from contextlib import suppress
from pathlib import Path

from ..own_files import write_whole

# Of `cblas_sgemm`: row after row, the first matrix as it is, the second one transposed.
LAYOUT = (101, 111, 112)

# Of rows, tried one after the other: what OpenBLAS loses by copying the weights, which
# `many_rows.c` does not, is shared by all rows, so where it is the faster it stays so.
_LADDER = (32, 64, 128, 192, 256, 512)
_ALL = 2**30
# Of both sides of a weight: as T3's.
_SIZE = 1024
_ROUNDS = 7
# The gain with smaller weights is less by about as much.
_CLEARLY = 0.95


def most_rows(library: ctypes.CDLL, blas: ctypes.CDLL, folder: Path) -> int:
    """The most rows that `library` should multiply itself; 0 if OpenBLAS is always the faster.

    Kept in `folder`, for the kernels that the BLAS uses: measured anew by every process it would
    come out otherwise now and then, and with it the last bits of results.
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
    """On one thread, by the time that it has a core: the machine may be busy."""
    most = 0
    threads = blas.openblas_get_num_threads()
    blas.openblas_set_num_threads(1)
    library.take_rows(_ALL)
    try:
        for rows in _LADDER:
            ours, theirs = _seconds(library, blas, rows)
            if ours > _CLEARLY * theirs:
                return most
            most = rows
        return _ALL
    finally:
        blas.openblas_set_num_threads(threads)


def _seconds(library: ctypes.CDLL, blas: ctypes.CDLL, rows: int) -> tuple[float, float]:
    """Of a product by two weights in each, in turns, the best of some rounds."""
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
    """Floats in memory of their own, all of them 0.747.

    Not NumPy's: its BLAS would be loaded while the environment is arranged for another.
    """
    array = (ctypes.c_float * (rows * _SIZE))()
    ctypes.memset(array, 0x3F, ctypes.sizeof(array))
    return array
