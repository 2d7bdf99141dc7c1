"""Fast kernels in C that MLX's CPU backend lacks on Linux.

* `few_rows.c`: a decoding step multiplies two rows, or a few, by every weight of the network, and
  can be as fast as reading the weights is. OpenBLAS copies each weight into the order of its
  kernels before it multiplies, which for so few rows takes as long again. So this file interposes
  `cblas_sgemm`, which MLX calls, and computes products of up to 16 rows by a transposed matrix.
* `many_rows.c`: prefill multiplies some hundred rows, and OpenBLAS's copies take up to a third of
  its time. Up to how many rows are computed here is measured once on a machine (`choice.py`);
  larger products are passed on.
* `decoder.c`: called by `models/decoder/native_step.py`, a whole step of decoding, and by
  `models/flash/native_pass.py`, a whole pass over blocks.
* `estimator.c`: called by `models/s3gen/native_estimator.py`, the flow's estimator as a whole.
* `conformer.c`: called by `models/s3gen/native_encoder.py`, the encoder's layers.
* `attention.c`: called by `nn/attention.py`, where MLX has fused attention for GPUs alone.
* `convolution.c`, `depthwise.c`: called by `nn/conv.py` and `nn/conv2d.py`; a product for each tap
  would write its result as often as there are taps.
* `harmonics.c`: called by `models/s3gen/source.py`, the vocoder's excitation.
* `spectrum.c`: called by `models/s3gen/hift.py`, the input of the vocoder's inverse transform.
* `lstm.c`: called by `nn/lstm.py`; a step of an LSTM takes less time than MLX's overhead for it.

They are compiled for the processor when the package is first imported on a machine, which takes a
second. If that is not possible, MLX and OpenBLAS compute everything.
`MLX_CHATTERBOX_KERNELS=plain` switches this off, as it does the fused kernels (`cpu_kernels.py`);
`MLX_CHATTERBOX_ISA` names another instruction set than the processor's own (`processor.py`).
"""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from .. import code_cache
from ..processor import compiled_folder, instruction_set
from .choice import LAYOUT, most_rows

if TYPE_CHECKING:
    import mlx.core as mx
    import numpy as np

SOURCES = sorted(Path(__file__).parent.glob("*.c"))
HEADERS = sorted(Path(__file__).parent.glob("*.h"))
FLAGS = ("-O3", "-shared", "-fPIC", "-pthread", "-fvisibility=hidden")

# The functions that the library exports.
NAMES = (
    "add_harmonics", "attend_columns", "cblas_sgemm", "conform", "convolve", "convolve_depthwise",
    "decode", "decode_blocks", "estimate", "lstm_layer", "spectrum", "interpose_sgemm", "take_rows",
)  # fmt: skip

_library: ctypes.CDLL | None = None


def library() -> ctypes.CDLL | None:
    """Return the compiled code if it is in use in this process, else None."""
    return _library


def takes(*arrays: mx.array) -> bool:
    """Tell whether the compiled code is in use and accepts these arrays: float32, on the CPU."""
    import mlx.core as mx

    from .. import device

    return library() is not None and device.on_cpu() and all(a.dtype == mx.float32 for a in arrays)


def call(
    name: str,
    arrays: list[mx.array | None],
    shapes: list[tuple[int, ...]],
    shape: tuple[int, ...],
    *numbers,
) -> mx.array:
    """Call a function that takes arrays, one more of `shape` for its result, and numbers.

    The arrays are evaluated now. The compiled code gets all lengths from the numbers, and would
    read beyond the end of a shorter array, so the shapes are checked here.

    Args:
        arrays: None for one that the function can do without.
        shapes: of the arrays that are not None, as the function reads them.
        numbers: float for C's float, int for its int.

    Raises:
        TypeError: an array is not float32.
        ValueError: an array has another shape; MLX raises it too where shapes do not match.
        MemoryError: the function could not allocate memory.
    """
    # Here, because MLX must not be loaded before its BLAS.
    import mlx.core as mx
    import numpy as np

    present = [array for array in arrays if array is not None]
    if any(array.dtype != mx.float32 for array in present):
        raise TypeError(f"{name} takes float32; got {[array.dtype for array in present]}")
    actual = [array.shape for array in present]
    if actual != [tuple(expected) for expected in shapes] or any(n < 0 for n in shape):
        raise ValueError(f"{name} takes arrays of shapes {shapes}; got {actual}, for {shape}")
    mx.eval(present)
    inputs = [None if a is None else np.ascontiguousarray(np.asarray(a)) for a in arrays]
    result = np.empty(shape, np.float32)
    pointers = [None if a is None else ctypes.c_void_p(a.ctypes.data) for a in (*inputs, result)]
    values = [ctypes.c_float(n) if isinstance(n, float) else n for n in numbers]
    if getattr(_library, name)(*pointers, *values):
        raise MemoryError(name)
    return mx.array(result)


def multiply(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Multiply x (rows, depth) by the transpose of a weight (columns, depth).

    Both are float32 and C-contiguous; so is the result, (rows, columns).
    """
    import numpy as np

    (rows, depth), columns = x.shape, len(weight)
    result = np.empty((rows, columns), np.float32)
    pointers = [ctypes.c_void_p(array.ctypes.data) for array in (x, weight, result)]
    assert _library is not None  # `takes`
    _library.cblas_sgemm(
        *LAYOUT, rows, columns, depth, ctypes.c_float(1.0), pointers[0], depth, pointers[1],
        depth, ctypes.c_float(0.0), pointers[2], columns,
    )  # fmt: skip
    return result


def interpose_sgemm(blas: ctypes.CDLL) -> bool:
    """Take over products by their number of rows, from a BLAS that is not in the global scope yet.

    Returns:
        Whether it succeeded; a failure is not an error.
    """
    global _library
    if os.environ.get("MLX_CHATTERBOX_KERNELS", "").lower() == "plain":
        return False
    # Only OpenBLAS tells how many threads it may use at the moment.
    if not hasattr(blas, "openblas_get_num_threads"):
        return False
    with suppress(OSError):
        if (compiled := _compiled()) is not None:
            folder, _library = compiled
            _library.interpose_sgemm(blas.cblas_sgemm, blas.openblas_get_num_threads)
            _library.take_rows(most_rows(_library, blas, folder))
            return True
    return False


def compile_to(path: Path, compiler: str, *more_flags: str) -> bool:
    """Compile everything into one shared library, `-march=...` among the flags given.

    Returns:
        Whether it worked.
    """
    import subprocess

    command = [compiler, *FLAGS, *more_flags, *map(str, SOURCES), "-o", str(path)]
    try:
        return subprocess.run(command, capture_output=True, timeout=60).returncode == 0
    except subprocess.SubprocessError:
        return False


def _compiled() -> tuple[Path, ctypes.CDLL] | None:
    """Load the library for this processor, and compile it first if it is missing.

    Returns:
        Its folder and the library; None without a compiler, or if compiling fails.
    """
    import shutil

    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None or (target := instruction_set(compiler)) is None:
        return None
    texts = (path.read_text() for path in [*SOURCES, *HEADERS])
    folder = compiled_folder(compiler, target, *FLAGS, *texts)

    def build(path: Path) -> bool:
        return compile_to(path, compiler, target)

    loaded = code_cache.load_library(folder / "native.so", build, NAMES, ctypes.RTLD_GLOBAL)
    return None if loaded is None else (folder, loaded)
