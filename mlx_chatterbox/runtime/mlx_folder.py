"""A safe folder for the kernels that MLX compiles for the CPU, on Linux.

MLX's own is `$TMPDIR/mlx/VERSION/cpu`, mostly below /tmp, where it belongs to the first user who
made it; MLX loads its libraries unchecked. `TMPDIR` also applies to programs that a process starts,
so it is not changed: a library of ours (`mlx_folder.cpp`) interposes the function by which MLX
finds the folder, and returns one of this process. Compiled kernels are kept from process to
process, with their hashes (`code_cache.py`), and linked into a new process's folder; so no process
loads a kernel that another has half compiled.

The function must be interposed before MLX is loaded. If that was not possible, MLX's own folder is
secured, and if it is another user's nothing is fused.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from . import code_cache
from .locks import try_lock
from .processor import compiled_folder

SOURCE = Path(__file__).with_suffix(".cpp")
# Set in the process in which MLX writes the sources of `cpu_kernels.py`, into its own folder.
WRITING = "MLX_CHATTERBOX_WRITES_KERNELS"
_FLAGS = ("-std=c++17", "-O1", "-shared", "-fPIC", "-fvisibility=hidden")
_NAMES = ("mlx_use_folder", "mlx_asked")
# Age of a process's folder before it counts as left over: a new one may not be locked yet.
_YOUNG_SECONDS = 60.0

_library: ctypes.CDLL | None = None
# This process's folder, and its lock, which is held until the process ends.
_run: Path | None = None
_lock: int | None = None
_fuses = True


def interpose() -> None:
    """Interpose MLX's function for the folder, before MLX is loaded; a failure is not an error."""
    global _library
    import shutil

    compiler = shutil.which("g++")
    # Without one MLX compiles and loads nothing.
    if compiler is None or WRITING in os.environ:
        return

    def build(path: Path) -> bool:
        import subprocess

        command = [compiler, *_FLAGS, str(SOURCE), "-o", str(path)]
        try:
            return subprocess.run(command, capture_output=True, timeout=60).returncode == 0
        except subprocess.SubprocessError:
            return False

    with contextlib.suppress(OSError):
        folder = compiled_folder(compiler, *_FLAGS, SOURCE.read_text())
        path = folder / "mlx_folder.so"
        _library = code_cache.load_library(path, build, _NAMES, ctypes.RTLD_GLOBAL)


def fuses() -> bool:
    """Tell whether MLX may compile and load kernels."""
    return _fuses


@contextlib.contextmanager
def used(folder: Path) -> Iterator[None]:
    """Have MLX compile and load kernels in `folder`/mlx until the block ends."""
    if _library is not None:
        _library.mlx_use_folder(os.fsencode(folder))
        try:
            yield
        finally:
            _library.mlx_use_folder(os.fsencode(_run) if _run is not None else b"")
        return
    before = os.environ.get("TMPDIR")
    os.environ["TMPDIR"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["TMPDIR"]
        else:
            os.environ["TMPDIR"] = before


def arrange(version: str) -> None:
    """Set the folder of MLX, which is loaded and of this version; done once in a process."""
    global _run
    is_linux = sys.platform.startswith("linux")
    if _run is not None or not is_linux or WRITING in os.environ:
        return
    try:
        _run = None if _library is None else _arranged(version)
    except OSError:  # the disk may be full
        _run = None
    if _run is None or _library is None:
        _make_ours(version)
    else:
        _library.mlx_use_folder(os.fsencode(_run))


def _arranged(version: str) -> Path:
    """Make the folder of this process, with the kernels that others have kept."""
    base = code_cache.root() / "mlx"
    kept, runs, for_cuda = base / f"cpu-{version}", base / "runs", base / f"ptx-{version}"
    for folder in (base, kept, runs, for_cuda):
        code_cache.own(folder)
    _remove_dead(runs)
    run = _new_run(runs)
    place = run / "mlx" / version / "cpu"
    place.mkdir(parents=True, mode=0o700)
    place.with_name("ptx").symlink_to(for_cuda)
    _link(kept, place)
    _keep_at_exit(run, place, kept)
    return run


def _new_run(runs: Path) -> Path:
    import tempfile

    global _lock
    run = Path(tempfile.mkdtemp(dir=runs))
    _lock = os.open(run / "lock", os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try_lock(_lock)
    return run


def _remove_dead(runs: Path) -> None:
    """Remove folders of processes that were killed."""
    import shutil
    import time

    for run in runs.iterdir():
        with contextlib.suppress(OSError):
            if time.time() - run.stat().st_mtime < _YOUNG_SECONDS:
                continue
            with (run / "lock").open("rb") as lock:
                if try_lock(lock):
                    shutil.rmtree(run, ignore_errors=True)


def _link(kept: Path, place: Path) -> None:
    """Link the kept kernels that are whole; remove damaged ones."""
    for path in kept.glob("*.so"):
        with contextlib.suppress(OSError):
            if code_cache.is_intact(path):
                os.link(path, place / path.name)
            else:
                path.unlink()


def _keep_at_exit(run: Path, place: Path, kept: Path) -> None:
    import atexit
    import shutil

    process = os.getpid()

    def keep() -> None:
        if os.getpid() != process:  # a fork
            return
        for path in place.glob("*.so"):
            with contextlib.suppress(OSError):
                if path.stat().st_nlink == 1:
                    code_cache.keep(path, kept / path.name)
        shutil.rmtree(run, ignore_errors=True)

    atexit.register(keep)


def _make_ours(version: str) -> None:
    """Secure MLX's own folder or, if that is not possible, keep MLX from loading anything."""
    global _fuses
    import shutil
    import warnings

    import mlx.core as mx

    if shutil.which("g++") is None:  # then it loads nothing
        return
    names = ("TMPDIR", "TMP", "TEMP", "TEMPDIR")
    folder = Path(next(filter(None, map(os.environ.get, names)), "/tmp"))
    try:
        for name in ("mlx", version, "cpu"):
            folder /= name
            folder.mkdir(mode=0o755, exist_ok=True)
            code_cache.require_ours(folder)
        for path in folder.glob("*.so"):
            code_cache.require_ours(path)
    except OSError as error:
        _fuses = False
        mx.disable_compile()
        warnings.warn(
            f"MLX keeps compiled code in {folder}, which is not safe to load "
            f"({error.strerror or error}): nothing is fused, which is slow on a CPU. Import "
            "mlx_chatterbox before mlx, or set TMPDIR to a folder of yours.",
            stacklevel=3,
        )
