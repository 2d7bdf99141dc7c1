"""Matrix products of a few rows, as in decoding, at the speed of the memory, on Linux CPUs.

A decoding step multiplies two rows, or a few, by every weight of the network, and can be as fast as
reading the weights is. OpenBLAS copies each weight into the order its kernels want before it
multiplies, which for so few rows costs as much again. So `few_rows.c` stands before it, under the
name by which MLX calls it (`cblas_sgemm`): products of up to 16 rows by a transposed matrix it does
itself, the others it hands on. It is compiled for the processor when the package is first imported
on a machine, which takes half a second; without a compiler OpenBLAS does everything.

`MLX_CHATTERBOX_KERNELS=plain` switches this off, as it does the fused kernels (`cpu_kernels.py`).
"""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from pathlib import Path

from .processor import compiled_folder

SOURCE = Path(__file__).with_name("few_rows.c")
FLAGS = ("-O3", "-march=native", "-shared", "-fPIC", "-pthread")


def stand_before(blas: ctypes.CDLL) -> bool:
    """Take over the products of a few rows from a BLAS that is not yet in the global scope.

    Returns:
        Whether it was done; what stands in the way is no error.
    """
    if os.environ.get("MLX_CHATTERBOX_KERNELS", "").lower() == "plain":
        return False
    # Only OpenBLAS says how many threads it is to use at the moment.
    if not hasattr(blas, "openblas_get_num_threads"):
        return False
    with suppress(OSError, ImportError):
        path = _compiled()
        if path is not None:
            ours = ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
            ours.few_rows_before(blas.cblas_sgemm, blas.openblas_get_num_threads)
            return True
    return False


def _compiled() -> Path | None:
    """The library for this processor, compiled if it is not there; None without a compiler."""
    import shutil

    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        return None
    folder = compiled_folder(compiler, *FLAGS, SOURCE.read_text())
    library = folder / "few_rows.so"
    if not library.exists():
        import subprocess
        import tempfile

        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            new = Path(scratch) / library.name
            command = [compiler, *FLAGS, str(SOURCE), "-o", str(new)]
            done = subprocess.run(command, capture_output=True, timeout=60)
            if done.returncode:
                return None
            new.rename(library)
    return library
