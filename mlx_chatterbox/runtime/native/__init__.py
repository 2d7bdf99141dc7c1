"""What MLX's CPU backend lacks on Linux, in C.

* `few_rows.c`: a decoding step multiplies two rows, or a few, by every weight of the network, and
  can be as fast as reading the weights is. OpenBLAS copies each weight into the order its kernels
  want before it multiplies, which for so few rows costs as much again. So this stands before it,
  under the name by which MLX calls it (`cblas_sgemm`): products of up to 16 rows by a transposed
  matrix it does itself.
* `many_rows.c`: the reading of a text multiplies some hundred rows, and OpenBLAS's copies take up
  to a third of its time. Up to how many rows are done here is measured once on a machine
  (`choice.py`); the others are handed on.
* `decoder.c`: called by `models/t3/native_step.py`, a whole step of decoding.
* `estimator.c`: called by `models/s3gen/native_estimator.py`, the flow's estimator as a whole.
* `conformer.c`: called by `models/s3gen/native_encoder.py`, the encoder's layers.
* `attention.c`: called by `nn/attention.py`, where MLX has fused attention for GPUs alone.
* `convolution.c`, `depthwise.c`: called by `nn/conv.py` and `nn/conv2d.py`; a product for each tap
  would write its result as often as there are taps.
* `harmonics.c`: called by `models/s3gen/source.py`, the vocoder's excitation.
* `spectrum.c`: called by `models/s3gen/hift.py`, what the vocoder's transform back is given.
* `lstm.c`: called by `nn/lstm.py`; a step of an LSTM is over before MLX has arranged it.

They are compiled for the processor when the package is first imported on a machine, which takes a
second. Where that cannot be done, MLX and OpenBLAS do everything.
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

# What the library exports.
NAMES = (
    "add_harmonics", "attend_columns", "cblas_sgemm", "conform", "convolve", "convolve_depthwise",
    "decode", "estimate", "lstm_layer", "spectrum", "interpose_sgemm", "take_rows",
)  # fmt: skip

_library: ctypes.CDLL | None = None


def library() -> ctypes.CDLL | None:
    """The compiled code, if it is in use in this process."""
    return _library


def takes(*arrays: mx.array) -> bool:
    """Whether the compiled code is in use and these are what it takes: float32 on the CPU."""
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

    The arrays are evaluated, now. What is compiled knows no lengths but the numbers, and reads
    beyond the end of an array that is shorter.

    Args:
        shapes: of the arrays that are given, as the function reads them by its numbers.

    Raises:
        TypeError: an array is not float32.
        ValueError: an array is of another shape, as MLX has it where shapes do not go together.
        MemoryError: there is none left.
    """
    # Not before a process has decided which BLAS MLX is to find.
    import mlx.core as mx
    import numpy as np

    present = [array for array in arrays if array is not None]
    if any(array.dtype != mx.float32 for array in present):
        raise TypeError(f"{name} takes float32; got {[array.dtype for array in present]}")
    found = [array.shape for array in present]
    if found != [tuple(one) for one in shapes] or any(n < 0 for n in shape):
        raise ValueError(f"{name} takes arrays of shapes {shapes}; got {found}, for {shape}")
    mx.eval(present)
    given = [None if a is None else np.ascontiguousarray(np.asarray(a)) for a in arrays]
    result = np.empty(shape, np.float32)
    pointers = [None if a is None else ctypes.c_void_p(a.ctypes.data) for a in (*given, result)]
    values = [ctypes.c_float(n) if isinstance(n, float) else n for n in numbers]
    if getattr(_library, name)(*pointers, *values):
        raise MemoryError(name)
    return mx.array(result)


def multiply(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """x (rows, depth) times the transpose of a weight (columns, depth), both float32 and whole."""
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
    """Take over products, by their rows, from a BLAS that is not yet in the global scope.

    Returns:
        Whether it was done; what stands in the way is no error.
    """
    global _library
    if os.environ.get("MLX_CHATTERBOX_KERNELS", "").lower() == "plain":
        return False
    # Only OpenBLAS says how many threads it is to use at the moment.
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
    """The folder of the library for this processor, and the library, compiled if it is not there;
    None without a compiler, or where it fails."""
    import shutil

    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None or (target := instruction_set(compiler)) is None:
        return None
    texts = (path.read_text() for path in [*SOURCES, *HEADERS])
    folder = compiled_folder(compiler, target, *FLAGS, *texts)

    def build(path: Path) -> bool:
        return compile_to(path, compiler, target)

    loaded = code_cache.library(folder / "native.so", build, NAMES, ctypes.RTLD_GLOBAL)
    return None if loaded is None else (folder, loaded)
