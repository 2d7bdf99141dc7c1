"""Reading and writing of files in folders that somebody else may have manipulated.

Folders of jobs, outputs and checkpoints are passed around, and may contain links or special files
meant to have other files read, overwritten or removed. So every file is written under a new random
name, and renamed when it is complete and on the disk; nothing is opened through a link; only
regular files are read, so that nobody waits for a pipe or reads a device without end; and only
files with names and of a kind that we make are removed.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from .locks import try_lock

_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
# Without it, opening a pipe would wait for a writer.
_NO_WAITING = getattr(os, "O_NONBLOCK", 0)
_CLOSED_IN_CHILDREN = getattr(os, "O_CLOEXEC", 0)
# Bytes: file systems allow 255, and longer endings than ours are appended in some places.
_LONGEST_STEM = 180
_KINDS: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISLNK, "a link"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
# The answer of `problem_of` for a missing file.
MISSING = "does not exist"
# A shell's `<(...)` and `< file`.
_GIVEN_OPEN = r"/dev/stdin|(?:/dev/fd|/proc/(?:self|\d+)/fd)/\d+"


def open_regular(path: str | os.PathLike, follow: bool = True) -> BinaryIO:
    """Open a regular file to read bytes.

    Args:
        follow: whether `path` may be a link to one.

    Raises:
        OSError: it is missing, unreadable, or no regular file; its `strerror` says which.
    """
    _require_regular(os.stat(path, follow_symlinks=follow).st_mode, path)
    more = _NO_WAITING | _CLOSED_IN_CHILDREN | (0 if follow else _NO_LINK)
    file = open(  # noqa: SIM115
        path, "rb", opener=lambda name, flags: os.open(name, flags | more)
    )
    try:
        _require_regular(os.fstat(file.fileno()).st_mode, path)
    except BaseException:
        file.close()
        raise
    return file


def open_input(path: str | os.PathLike) -> BinaryIO:
    """Open an input that a user names: a regular file, or a pipe of the shell.

    Pipes of the shell are `<(...)` and `/dev/stdin`.

    Raises:
        OSError: as `open_regular`.
    """
    if is_given_open(path):
        return open(path, "rb")
    return open_regular(path)


def problem_of(path: str | os.PathLike) -> str:
    """State why a path is not a readable regular file, or a link to one; "" if it is."""
    try:
        kind = special_kind(os.stat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return MISSING
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    except ValueError:  # a zero character
        return "is not a possible file name"
    return f"is {kind}, not a file" if kind else ""


def is_given_open(path: str | os.PathLike) -> bool:
    """Tell whether a path names a pipe or a terminal that this process was started with."""
    if not re.fullmatch(_GIVEN_OPEN, os.fspath(path)):
        return False
    with contextlib.suppress(OSError):
        mode = os.stat(path).st_mode
        return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or (stat.S_ISCHR(mode) and _is_tty(path))
    return False


def _is_tty(path: str | os.PathLike) -> bool:
    with open(path, "rb", buffering=0) as file:
        return file.isatty()


def special_kind(mode: int) -> str:
    """Name the kind of a special file by `st_mode`; "" for a regular file."""
    if stat.S_ISREG(mode):
        return ""
    return next((name for is_one, name in _KINDS if is_one(mode)), "something else")


def _require_regular(mode: int, path: str | os.PathLike) -> None:
    if kind := special_kind(mode):
        code = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
        raise OSError(code, f"it is {kind}, not a file", os.fspath(path))


def is_regular(path: Path) -> bool:
    """Tell whether a path is a regular file itself, not a link to one."""
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except (OSError, ValueError):
        return False


def own_folder(path: Path) -> None:
    """Make a folder, and those above it, if it does not exist.

    Raises:
        OSError: it cannot be made, or is a link or another kind of file.
    """
    path.mkdir(parents=True, exist_ok=True)
    mode = os.lstat(path).st_mode
    if not stat.S_ISDIR(mode):
        raise OSError(
            errno.ENOTDIR, f"it is {special_kind(mode) or 'a file'}, not a folder", str(path)
        )


def open_lock(path: Path, make: bool = True) -> int:
    """Open a file that serves only as a lock, and return its descriptor.

    Args:
        make: whether it is made if it does not exist.

    Raises:
        OSError: it is a link, also a hard one, or not a regular file.
    """
    with contextlib.suppress(FileNotFoundError):
        _require_regular(os.lstat(path).st_mode, path)
    flags = os.O_RDWR | _NO_LINK | _NO_WAITING | _CLOSED_IN_CHILDREN
    flags |= os.O_CREAT if make else 0
    descriptor = os.open(path, flags, 0o644)
    try:
        status = os.fstat(descriptor)
        _require_regular(status.st_mode, path)
        if status.st_nlink > 1:
            raise OSError(errno.EMLINK, "it is linked to another file", str(path))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


@contextlib.contextmanager
def whole_file(
    path: Path, suffix: str = "", clean: bool = False, durable: bool = True
) -> Iterator[BinaryIO]:
    """Write a file whole or not at all, even if the power fails.

    Yields an open file beside `path` with a random name (`.name`), which is flushed to the disk and
    renamed to `path` when the block ends; a link of that name is replaced, not followed. If the
    block fails, the file is removed.

    Args:
        suffix: ending of the temporary name, for writers that depend on it.
        clean: also remove temporary files that killed processes left of the same file.
        durable: False does not wait for the disk: a power failure may then damage the file.

    Raises:
        OSError: it cannot be written.
    """
    if clean:
        remove_leftovers(path)
    file = new_beside(path, suffix)
    try:
        with file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
            os.replace(file.name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(file.name)
        raise
    if durable:
        sync_folder(path.parent)


def write_whole(path: Path, data: bytes | str, clean: bool = False) -> None:
    """Write a file of this content (text as UTF-8) whole or not at all; see `whole_file`."""
    with whole_file(path, clean=clean) as file:
        file.write(data.encode() if isinstance(data, str) else data)


def new_beside(path: Path, suffix: str = "") -> BinaryIO:
    """Open a new file in the folder of `path` to write and read, under an unpredictable name.

    It is locked while it is open, so that `remove_leftovers` does not remove it.
    """
    while True:
        name = path.with_name(f"{_stem(path.name)}.{os.urandom(8).hex()}.tmp{suffix}")
        file = open(name, "x+b", opener=_open_new)  # noqa: SIM115
        # Before it was locked, another process may have removed it as a leftover.
        if try_lock(file, wait=True) is None or os.fstat(file.fileno()).st_nlink:
            return file
        file.close()


def _open_new(name: str, flags: int) -> int:
    return os.open(name, flags | _NO_LINK | _CLOSED_IN_CHILDREN, 0o666)


def _stem(name: str) -> str:
    """Return the beginning of a file's temporary names, short enough for file systems."""
    encoded = os.fsencode(name)
    if len(encoded) <= _LONGEST_STEM:
        return f".{name}"
    shown = encoded[: _LONGEST_STEM - 17].decode(errors="ignore")
    return f".{shown}~{hashlib.blake2b(encoded, digest_size=8).hexdigest()}"


def remove_leftovers(path: Path, alone: bool = False) -> None:
    """Remove temporary files of `path` that killed processes left.

    Args:
        alone: no other process writes it now; otherwise locked ones are kept.
    """
    pattern = re.compile(re.escape(_stem(path.name)) + r"\.[0-9a-f]{16}\.tmp(?:\.[a-z]+)?")
    remove_named(path.parent, pattern.fullmatch, alone)


def remove_named(folder: Path, is_ours: Callable[[str], object], alone: bool = True) -> None:
    """Remove regular files of a folder by their names; no links, no folders.

    Args:
        is_ours: tells by its name whether a file is to be removed.
        alone: no other process uses them now; otherwise locked ones are kept.
    """
    paths: list[str] = []
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        paths += [
            entry.path
            for entry in entries
            if is_ours(entry.name) and entry.is_file(follow_symlinks=False)
        ]
    for path in paths:
        with contextlib.suppress(OSError):
            if alone or _is_free(path):
                os.unlink(path)


def _is_free(path: str) -> bool:
    with open_regular(path, follow=False) as file:
        return try_lock(file) is True


def sync(path: Path) -> None:
    """Flush a file's content, or the names in a folder, to the disk.

    Raises:
        OSError: it cannot be opened, or the file system cannot flush it.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Flush the names in a folder to the disk, if the file system can."""
    with contextlib.suppress(OSError):
        sync(folder)
