"""Folders that appear whole or not at all, and replace another one in a single step.

A folder is written as `.NAME.tmp-PID` beside NAME until it is complete. Linux and macOS can
exchange two folders in one step, so that NAME is the old one or the new one at every moment; on
file systems that cannot, the old one is called `.NAME.old-PID` for an instant, and `recover`
renames it back if the process was killed then. Folders that a killed process leaves behind are
removed by the next one, which recognises them by a free lock in the folder, or by the PID where
there are no locks.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import CheckpointError
from ..runtime.locks import try_lock
from ..runtime.own_files import open_lock

LOCK = ".being-written"
_TEMPORARY = re.compile(r"\.(.+)\.tmp-(\d+)")
_OLD = re.compile(r"\.(.+)\.old-(\d+)")
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # of Linux's renameat2
_RENAME_SWAP = 2  # of macOS's renamex_np


@contextmanager
def whole_folder(output: Path, force: bool) -> Iterator[Path]:
    """Yield a temporary folder beside `output`, which takes its name when the block succeeds.

    On any error, and on Ctrl-C, it is removed and `output` stays as it was.

    Raises:
        CheckpointError: it cannot be made, or `output` exists and `force` is false.
    """
    temporary = output.with_name(f".{output.name}.tmp-{os.getpid()}")
    try:
        recover(output)
        temporary.mkdir()
        with _held(temporary / LOCK):
            yield temporary
            (temporary / LOCK).unlink()
            _move_in(temporary, output, force)
    except OSError as error:
        where = error.filename or output
        raise CheckpointError(f"{where}: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def recover(output: Path) -> None:
    """Complete an exchange that was interrupted, and remove folders that killed processes left.

    These are folders that no process is writing any more: temporary ones of `output`, and others
    beside it that have our lock.
    """
    for folder, name in _beside(output, _OLD):
        target = folder.with_name(name)
        if not os.path.lexists(target):
            with contextlib.suppress(OSError):
                os.rename(folder, target)
                (target / LOCK).unlink(missing_ok=True)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    for folder, _ in _beside(output, _TEMPORARY):
        shutil.rmtree(folder, ignore_errors=True)


def moved_aside(output: Path) -> Path | None:
    """Find the folder that `recover` would rename to `output`; None if `output` exists."""
    if output.exists():
        return None
    return next((folder for folder, name in _beside(output, _OLD) if name == output.name), None)


def check_space(folder: Path, needed: int) -> None:
    """Check that the disk has room.

    Args:
        needed: bytes that will be written into `folder`.

    Raises:
        CheckpointError: fewer are free.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise CheckpointError(
            f"{folder} has {free / 1e9:.2f} GB free, and {needed / 1e9:.2f} GB will be written: "
            "make room, or choose another disk."
        )


def _beside(output: Path, pattern: re.Pattern) -> list[tuple[Path, str]]:
    """Folders that killed processes left beside `output`, the newest first.

    Args:
        pattern: of their names: the name that each stands for, and the process.

    Returns:
        Each folder and the name that it stands for.
    """
    folders = []
    for folder in output.parent.glob(".*"):
        match = pattern.fullmatch(folder.name)
        if match is None or folder.is_symlink() or not folder.is_dir():
            continue
        ours = match[1] == output.name or (folder / LOCK).exists()
        if ours and not _in_use(folder, int(match[2])):
            folders.append((folder, match[1]))
    return sorted(folders, key=lambda each: each[0].stat().st_mtime, reverse=True)


def _in_use(folder: Path, process: int) -> bool:
    """Tell whether a process is at work on `folder`: it holds the lock, or is about to take it."""
    try:
        handle = open_lock(folder / LOCK, make=False)
    except OSError:
        return _lives(process)
    try:
        locked = try_lock(handle)
    finally:
        os.close(handle)
    return _lives(process) if locked is None else not locked


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


@contextmanager
def _held(path: Path) -> Iterator[None]:
    """Hold the lock `path`, which the system releases however the process ends.

    Raises:
        CheckpointError: another process has it.
    """
    handle = open_lock(path)
    try:
        if try_lock(handle) is False:
            raise CheckpointError(f"another process is at work on {path.parent}.")
        yield
    finally:
        os.close(handle)


def _move_in(temporary: Path, output: Path, force: bool) -> None:
    if not output.exists():
        os.rename(temporary, output)
        return
    if not force:  # it appeared while we worked
        raise CheckpointError(f"{output} was made meanwhile by another process; it is kept.")
    if exchange(temporary, output):
        return  # the old one has the temporary name now, and is removed
    old = output.with_name(f".{output.name}.old-{os.getpid()}")
    # Locked while it has the other name, to distinguish a killed process from one at work.
    with _held(output / LOCK):
        os.rename(output, old)
        try:
            os.rename(temporary, output)
        except BaseException:
            os.rename(old, output)
            (output / LOCK).unlink()
            raise
        os.rename(old, temporary)


def exchange(first: Path, second: Path) -> bool:
    """Exchange two names in one step; False where the system or the file system cannot."""
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        names = os.fsencode(first), os.fsencode(second)
        if sys.platform == "darwin":
            return libc.renamex_np(*names, ctypes.c_uint(_RENAME_SWAP)) == 0
        flags = ctypes.c_uint(_RENAME_EXCHANGE)
        return libc.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], flags) == 0
    except (OSError, AttributeError):
        return False
