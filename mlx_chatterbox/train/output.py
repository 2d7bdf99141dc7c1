"""The folder that a run writes into: one run at a time, and what to say when it cannot be written.

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
    """Find out before any work whether a run can write where it has to; writes nothing.

    Raises:
        ConfigError: it cannot.
    """
    for key in ("training.output_dir", "dataset.feature_cache_dir"):
        section, _, name = key.partition(".")
        folder = getattr(getattr(config, section), name)
        if folder is not None and (trouble := _trouble_with(Path(folder))):
            raise config.fail(key, f"{name} {folder} cannot be written: {trouble}.")


def _trouble_with(folder: Path) -> str:
    """What keeps files from being made in a folder that may not be there yet; "" if nothing."""
    there = folder.absolute()
    while not os.path.lexists(there) and there != there.parent:
        there = there.parent
    if not there.is_dir():
        return f"{there} is a file" if there.exists() else f"{there} leads nowhere"
    if os.access(there, os.W_OK | os.X_OK):
        return ""
    read_only = getattr(os, "ST_RDONLY", 0)
    if read_only and os.statvfs(there).f_flag & read_only:
        return f"{there} is on a file system that can only be read"
    return f"there is no permission to write into {there}"


@contextmanager
def alone_in(folder: Path, group: Group) -> Iterator[None]:
    """Hold an output folder, which is made, against other runs.

    Raises:
        TrainingError: another run is at work on it.
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
    """Raise TrainingError if a run is at work on an output folder; nothing is written."""
    try:
        handle = os.fdopen(open_lock(folder / LOCK, make=False), "r+", encoding="utf-8")
    except OSError:
        return
    with handle:
        if trouble := _taken(handle, folder):
            raise TrainingError(trouble)


def _taken(handle, folder: Path) -> str:
    """What to say if another process has the lock; else it is locked now."""
    if try_lock(handle) is not False:
        return ""
    handle.seek(0)
    who = handle.read().strip()
    return (
        f"another run{f' (process {who})' if who else ''} is at work on {folder}: wait for it, or "
        "choose another training.output_dir."
    )


@contextmanager
def plain_disk_errors(folder: Path) -> Iterator[None]:
    """Turn what a disk refuses into one line that says how to go on.

    Args:
        folder: the run's output folder.

    Raises:
        TrainingError: instead of OSError.
    """
    try:
        yield
    except BrokenPipeError:  # whoever read what is printed has gone: no disk's fault
        raise
    except OSError as error:
        name = error.filename if isinstance(error.filename, str) else str(folder)
        # What lies elsewhere is the data, as a rule, which is read.
        ours = error.errno in _FULL or Path(name).is_relative_to(folder)
        what = "cannot be written" if ours else "cannot be used"
        raise _told(f"{name} {what}: {_reason(error)}", folder) from error


def _reason(error: OSError) -> str:
    if error.errno in _FULL:
        return "the disk is full: make room"
    if error.errno == errno.EROFS:
        return "it is on a file system that can only be read"
    if error.errno in _DENIED:
        return "there is no permission"
    if error.errno in _NO_FOLDER:
        return "a file is in the way"
    return (error.strerror or str(error)).rstrip(".")


def _told(text: str, folder: Path) -> TrainingError:
    try:
        newest = Checkpoints(folder).newest()
    except OSError:
        newest = None
    text = text if text.endswith("?") else f"{text}."
    if newest is None:
        return TrainingError(text)
    return TrainingError(
        f"{text} {newest.name} is whole; go on with: python -m mlx_chatterbox.train resume {folder}"
    )
