"""Up to how many rows a product is faster here than in OpenBLAS, found out once on a machine."""

from __future__ import annotations

import ctypes
import os
import time
from contextlib import suppress
from pathlib import Path

# Of rows, tried one after the other: what OpenBLAS loses by copying the weights, which
# `many_rows.c` does not, is shared by all rows, so where it is the faster it stays so.
_LADDER = (32, 64, 128, 256, 512)
_ALL = 2**30
# Of both sides of a weight: as T3's.
_SIZE = 1024
_ROUNDS = 7
# A gain that is worth another rounding than OpenBLAS's.
_CLEARLY = 0.97


def most_rows(library: ctypes.CDLL, blas: ctypes.CDLL, folder: Path) -> int:
    """The most rows that `library` should multiply itself; 0 if OpenBLAS is always the faster.

    Kept in `folder`, for the kernels and the number of threads that the BLAS uses: measured anew by
    every process it would come out otherwise now and then, and with it the last bits of results.
    """
    blas.openblas_get_corename.restype = ctypes.c_char_p
    core, threads = blas.openblas_get_corename().decode(), blas.openblas_get_num_threads()
    verdict = folder / f"rows-{core}-{threads}"
    with suppress(OSError, ValueError):
        return int(verdict.read_text())
    rows = _measure(library, blas)
    with suppress(OSError):
        new = verdict.with_name(f".{verdict.name}-{os.getpid()}")
        new.write_text(str(rows))
        os.replace(new, verdict)
    return rows


def _measure(library: ctypes.CDLL, blas: ctypes.CDLL) -> int:
    most = 0
    library.take_rows(_ALL)
    for rows in _LADDER:
        ours, theirs = _seconds(library, blas, rows)
        if ours > _CLEARLY * theirs:
            return most
        most = rows
    return _ALL


def _seconds(library: ctypes.CDLL, blas: ctypes.CDLL, rows: int) -> tuple[float, float]:
    """Of a product by two weights in each, in turns, the best of some rounds."""
    # Not whenever the package is imported.
    import numpy as np

    from . import product

    x, out = np.ones((rows, _SIZE), np.float32), np.empty((rows, _SIZE), np.float32)
    weights = [np.ones((_SIZE, _SIZE), np.float32) for _ in range(2)]
    best = [float("inf")] * 2
    for _ in range(_ROUNDS):
        for index, multiplier in enumerate((library, blas)):
            started = time.perf_counter()
            for weight in weights:
                product(multiplier, x, weight, out)
            best[index] = min(best[index], time.perf_counter() - started)
    return best[0], best[1]
