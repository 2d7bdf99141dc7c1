"""The folder that a run writes into: a lock against other runs, and errors of the disk.

The lock is the operating system's: a run that was killed leaves none.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..runtime.locks import try_lock
from ..runtime.own_files import open_lock
from .config import TrainConfig
from .distributed import Group
from .samples import TrainingError
from .state import Checkpoints

LOCK = ".lock"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_DENIED = (errno.EACCES, errno.EPERM)
_NO_FOLDER = (errno.ENOTDIR, errno.EEXIST)


def check_folders(config: TrainConfig) -> None:
    """Check before any work that the run's folders can be written; writes nothing.

    Raises:
        ConfigError: one of them cannot.
    """
    for key in ("training.output_dir", "dataset.feature_cache_dir"):
        section, _, name = key.partition(".")
        folder = getattr(getattr(config, section), name)
        if folder is not None and (trouble := _trouble_with(Path(folder))):
            raise config.fail(key, f"{name} {folder} cannot be written: {trouble}.")


def _trouble_with(folder: Path) -> str:
    """Return why no file can be made in a folder, which need not exist yet; "" if it can."""
    there = folder.absolute()
    while not os.path.lexists(there) and there != there.parent:
        there = there.parent
    if not there.is_dir():
        return f"{there} is a file" if there.exists() else f"{there} is a broken link"
    if os.access(there, os.W_OK | os.X_OK):
        return ""
    read_only = getattr(os, "ST_RDONLY", 0)
    if read_only and os.statvfs(there).f_flag & read_only:
        return f"{there} is on a read-only file system"
    return f"there is no permission to write into {there}"


@contextmanager
def alone_in(folder: Path, group: Group) -> Iterator[None]:
    """Lock an output folder against other runs; it is made if it does not exist.

    Raises:
        TrainingError: another run uses it.
    """
    trouble, handle = "", None
    if group.is_first:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.fdopen(open_lock(folder / LOCK), "r+", encoding="utf-8")
    try:
        if handle is not None:
            trouble = _taken(handle, folder)
            if not trouble:
                handle.seek(0)
                handle.truncate()
                handle.write(str(os.getpid()))
                handle.flush()
        if trouble := group.bytes_from_first(trouble.encode()).decode():
            raise TrainingError(trouble)
        yield
    finally:
        if handle is not None:
            handle.close()


def refuse_busy(folder: Path) -> None:
    """Raise TrainingError if a run uses an output folder; nothing is written."""
    try:
        handle = os.fdopen(open_lock(folder / LOCK, make=False), "r+", encoding="utf-8")
    except OSError:
        return
    with handle:
        if trouble := _taken(handle, folder):
            raise TrainingError(trouble)


def _taken(handle, folder: Path) -> str:
    """Take the lock and return "", or return an error message if another process has it."""
    if try_lock(handle) is not False:
        return ""
    handle.seek(0)
    who = handle.read().strip()
    return (
        f"another run{f' (process {who})' if who else ''} is using {folder}: wait for it, or "
        "choose another training.output_dir."
    )


@contextmanager
def plain_disk_errors(folder: Path) -> Iterator[None]:
    """Turn errors of the disk into one line that says how to continue.

    Args:
        folder: the run's output folder.

    Raises:
        TrainingError: instead of OSError.
    """
    try:
        yield
    except BrokenPipeError:  # the reader of standard output has gone
        raise
    except OSError as error:
        name = error.filename if isinstance(error.filename, str) else str(folder)
        # Other files are nearly always the data, which is only read.
        ours = error.errno in _FULL or Path(name).is_relative_to(folder)
        what = "cannot be written" if ours else "cannot be used"
        raise _with_advice(f"{name} {what}: {_reason(error)}", folder) from error


def _reason(error: OSError) -> str:
    if error.errno in _FULL:
        return "the disk is full: make room"
    if error.errno == errno.EROFS:
        return "it is on a read-only file system"
    if error.errno in _DENIED:
        return "there is no permission"
    if error.errno in _NO_FOLDER:
        return "a file is in the way"
    return (error.strerror or str(error)).rstrip(".")


def _with_advice(text: str, folder: Path) -> TrainingError:
    """Return an error that names the newest checkpoint and the command to continue from it."""
    try:
        newest = Checkpoints(folder).newest()
    except OSError:
        newest = None
    text = text if text.endswith("?") else f"{text}."
    if newest is None:
        return TrainingError(text)
    return TrainingError(
        f"{text} {newest.name} is complete; continue with: "
        f"python -m mlx_chatterbox.train resume {folder}"
    )
