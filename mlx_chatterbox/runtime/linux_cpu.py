"""Preparation of a Linux process for MLX's CPU backend: a fast BLAS, and reuse of freed memory.

**BLAS.** The `mlx[cpu]` wheel links the reference BLAS, about thirty times slower than OpenBLAS for
matrix products. MLX uses another BLAS if that is in the process's global symbol scope before
`mlx.core` is loaded; afterwards nothing can be changed. macOS has Accelerate, and CUDA needs no
BLAS. `MLX_CHATTERBOX_BLAS` names another library to load, or `none` for no lookup at all. An
OpenBLAS older than the processor does not recognise it and falls back to kernels of twenty years
ago (Debian's 0.3.21 on Emerald Rapids: SSE3), two to four times slower; `OPENBLAS_CORETYPE` then
selects newer ones. Products of a few rows are computed by our own code instead (`runtime/native`).

**Memory.** MLX allocates every result by `malloc` and frees it at once. By default glibc returns
blocks of some megabytes to the system immediately, and allocating them again costs a page fault for
every 4 kB, which alone makes elementwise work on them four times slower. So freed blocks of up to
64 MB are kept, 512 MB in total. If the environment already tunes glibc, nothing is changed.
"""

from __future__ import annotations

import ctypes
import os
import sys
import warnings
from pathlib import Path

from . import mlx_folder, native

ADVICE = "install OpenBLAS (Debian and Ubuntu: apt install libopenblas0-pthread)"
_FAST_NAMES = ("openblas", "mkl_rt", "libblis")

# Parameters of glibc's mallopt, from its malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
MOST_KEPT = 512 * 2**20  # bytes that the process keeps of what it has freed

# The kernels that OpenBLAS falls back to on an x86 processor that it does not recognise, and those
# that it should use instead: the first whose instructions the processor has. `OPENBLAS_CORETYPE`
# overrides.
_FALLBACK_CORES = ("prescott", "core2", "northwood", "generic")
_CORES = (
    ("SkylakeX", {"avx512f", "avx512dq", "avx512bw", "avx512vl", "fma"}),
    ("Haswell", {"avx2", "fma"}),
)

# Logarithm to base 2 of the clock cycles for which OpenBLAS's idle threads spin before they sleep.
# By default it is 26, a fiftieth of a second, in which they slow down the threads that have work.
_SHORTEST_WAIT = "4"

MLX_CAME_FIRST = "mlx.core" in sys.modules

_warned = False
_blas: ctypes.CDLL | None = None


def _candidates() -> list[str]:
    """List shared libraries that export the CBLAS names, best first."""
    names = ["libopenblas.so.0", "libopenblasp.so.0", "libopenblas.so"]
    in_prefix = Path(sys.prefix) / "lib"
    names += [str(path) for path in sorted(in_prefix.glob("libmkl_rt.so.*"), reverse=True)]
    return names


def loaded_blas() -> str | None:
    """Find the fast BLAS that is mapped into this process, and return its path; None without one.

    The OpenBLAS of NumPy and SciPy does not count: its names have a prefix, so MLX cannot use it.
    """
    try:
        maps = Path("/proc/self/maps").read_text()
    except OSError:
        return None
    for line in maps.splitlines():
        path = Path(line.split(maxsplit=5)[-1])
        bundled = path.parent.name in ("numpy.libs", "scipy.libs", "scipy_openblas32")
        if any(name in path.name for name in _FAST_NAMES) and not bundled:
            return str(path)
    return None


def prepare() -> None:
    """Prepare the process, before MLX is loaded; nothing outside Linux."""
    if sys.platform.startswith("linux"):
        _keep_freed_memory()
        _preload_blas()
        if not MLX_CAME_FIRST:
            mlx_folder.interpose()


def _keep_freed_memory() -> None:
    tuned = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")
    if any(name in os.environ for name in tuned) or "malloc" in os.environ.get(
        "GLIBC_TUNABLES", ""
    ):
        return
    # The C library of some distributions (musl) has no mallopt, and does not need it either.
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 64 * 2**20)
        mallopt(_M_TRIM_THRESHOLD, MOST_KEPT)


def trim_heap() -> None:
    """Return to the system the memory that `_keep_freed_memory` keeps; nothing outside Linux.

    Blocks of many sizes, allocated by several threads, leave gaps that no later block fits, so that
    the memory in use would grow for a while with the work.
    """
    if sys.platform.startswith("linux"):
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def _preload_blas() -> None:
    """Load a fast BLAS into the global scope, if MLX is not loaded yet."""
    choice = os.environ.get("MLX_CHATTERBOX_BLAS", "")
    if choice.lower() == "none":
        return
    if "mlx.core" in sys.modules or (not choice and loaded_blas()):
        return
    for name in [choice] if choice else _candidates():
        try:
            _load(name)
            return
        except OSError:
            continue
    if choice:
        warnings.warn(f"MLX_CHATTERBOX_BLAS={choice} cannot be loaded.", stacklevel=4)


def _load(name: str) -> None:
    """Put a BLAS into the global scope, its kernels fitting the processor."""
    global _blas
    # Both are read while the library is loaded.
    settings = {}
    if "OPENBLAS_THREAD_TIMEOUT" not in os.environ:
        settings["OPENBLAS_THREAD_TIMEOUT"] = os.environ["OPENBLAS_THREAD_TIMEOUT"] = _SHORTEST_WAIT
    try:
        if "OPENBLAS_CORETYPE" not in os.environ:
            trial = ctypes.CDLL(name)
            better = _better_core(_core_of(trial))
            if better is not None:
                # It reads the setting only when it is loaded: unload it, and load it again.
                ctypes.CDLL(None).dlclose(ctypes.c_void_p(trial._handle))
                settings["OPENBLAS_CORETYPE"] = os.environ["OPENBLAS_CORETYPE"] = better
        blas = ctypes.CDLL(name)
        # MLX finds what is in the global scope first.
        native.interpose_sgemm(blas)
        _blas = ctypes.CDLL(name, mode=ctypes.RTLD_GLOBAL)
    finally:
        for variable in settings:
            del os.environ[variable]


def _core_of(library: ctypes.CDLL) -> str:
    """Name the processor whose kernels an OpenBLAS runs; "" for any other library."""
    name = getattr(library, "openblas_get_corename", None)
    if name is None:
        return ""
    name.restype = ctypes.c_char_p
    return name().decode()


def _better_core(core: str) -> str | None:
    if core.lower() not in _FALLBACK_CORES:
        return None
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return None
    flags = next((set(line.split()) for line in lines if line.startswith("flags")), set())
    return next((name for name, needed in _CORES if needed <= flags), None)


def blas_core() -> str:
    """Name the processor whose kernels the BLAS runs, as OpenBLAS calls it; "" if it is unknown."""
    if MLX_CAME_FIRST or not sys.platform.startswith("linux"):
        return ""
    return _core_of(_blas if _blas is not None else ctypes.CDLL(None))


def warn_if_slow(device_is_cpu: bool) -> None:
    """Warn once, before work on a Linux CPU begins, if matrix products will be slow, and why."""
    global _warned
    if _warned or not device_is_cpu or not sys.platform.startswith("linux"):
        return
    _warned = True
    fast = loaded_blas() is not None
    if fast and not MLX_CAME_FIRST:
        return
    # It is mapped, but perhaps too late: only one from LD_PRELOAD was there before MLX.
    preloaded = os.environ.get("LD_PRELOAD", "")
    if fast and any(name in preloaded for name in _FAST_NAMES):
        return
    if MLX_CAME_FIRST:
        reason = "mlx was imported before mlx_chatterbox: import mlx_chatterbox first"
        if not fast and not any(_loadable(name) for name in _candidates()):
            reason += f", and {ADVICE}"
    else:
        reason = f"no fast BLAS was found: {ADVICE}"
    warnings.warn(f"matrix products will be slow on this CPU; {reason}.", stacklevel=3)


def _loadable(name: str) -> bool:
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True
