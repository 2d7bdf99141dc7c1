"""Compiled code on disk: where it is kept, and how it is known to be what was compiled.

Whoever can change a library that is loaded can do all that its user can. So it is kept in folders
that nobody else can write to, read or exchange: owned by us, mode 0700, no links, on a way that
others cannot turn. And a library that a power cut left half written kills the process that loads
it, so each has its size and hash beside it, written when it is on the disk, and is compared with
them before it is loaded; one that differs is compiled again. Where no such folder can be had, a
temporary one serves for this process.

The package's import waits for this module: what only compiling needs is imported there.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path

from .folders import cache_folder
from .own_files import open_regular, sync, write_whole

# Of a file's name that another ending is appended to; file systems allow 255.
_LONGEST_NAME = 240
# What `keep_folder` writes.
_ALL = "libraries.sha256"


class UntrustedError(OSError):
    """A folder is not ours alone; the message says why."""


@cache
def root() -> Path:
    """The folder for compiled code: in the cache, or a temporary one of this process, which is
    said.

    Raises:
        OSError: not even that can be made.
    """
    folder: Path | str = "the cache folder"
    try:
        folder = cache_folder() / "kernels"
        _prepare(folder)
        return folder
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home directory
        reason = getattr(error, "strerror", None) or str(error)
    import warnings

    temporary = _temporary()
    warnings.warn(
        f"compiled code cannot be kept in {folder} ({reason}), so it is compiled anew at every "
        "start, which takes seconds: set XDG_CACHE_HOME to a folder of yours alone.",
        stacklevel=2,
    )
    return temporary


def _temporary() -> Path:
    import atexit
    import shutil
    import tempfile

    _check_way(Path(os.path.realpath(tempfile.gettempdir())))
    folder, process = Path(tempfile.mkdtemp(prefix="mlx-chatterbox-")), os.getpid()

    def remove() -> None:
        if os.getpid() == process:  # not in a fork
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    return folder


def _prepare(folder: Path) -> None:
    """Make the folder of compiled code, or find it to be ours alone.

    Raises:
        OSError: it is not, or cannot be made.
    """
    top = folder.parent
    _check_way(Path(os.path.realpath(top.parent)))
    if top.is_symlink():  # to a larger disk: it must be our own link, and lead to our own folder
        _require_owner(top.lstat(), top)
        _check_way(Path(os.path.realpath(top)).parent)
    else:
        os.makedirs(top.parent, mode=0o700, exist_ok=True)
        with suppress(FileExistsError):
            os.mkdir(top, 0o755)
    status = os.stat(top)
    _require_owner(status, top)
    if _others_write(status):
        raise UntrustedError(0, f"others can write to {top}", str(top))
    own(folder)


def _check_way(folder: Path) -> None:
    """Look whether somebody else could exchange a folder on the way to one.

    Args:
        folder: without links; what of it is not there yet is passed over.
    """
    for one in (folder, *folder.parents):
        try:
            status = os.stat(one)
        except FileNotFoundError:
            continue
        is_sticky = status.st_mode & stat.S_ISVTX
        if status.st_uid not in (0, os.geteuid(), os.stat("/").st_uid):
            raise UntrustedError(0, f"{one} is somebody else's", str(one))
        if status.st_mode & stat.S_IWOTH and not is_sticky:
            raise UntrustedError(0, f"others can write to {one}", str(one))


def _require_owner(status: os.stat_result, path: Path) -> None:
    if status.st_uid != os.geteuid():
        raise UntrustedError(0, f"{path} is somebody else's", str(path))


def _others_write(status: os.stat_result) -> bool:
    """Whether others than us can write to a file or folder of ours."""
    mode = status.st_mode
    return bool(mode & stat.S_IWOTH or (mode & stat.S_IWGRP and _is_shared(status)))


def _is_shared(status: os.stat_result) -> bool:
    """Whether a group has other members than us: many systems give each user one of their own,
    which may write to all that is theirs."""
    import grp
    import pwd

    try:
        group, user = grp.getgrgid(status.st_gid), pwd.getpwuid(os.geteuid())
    except KeyError:
        return True
    return group.gr_name != user.pw_name or bool(set(group.gr_mem) - {user.pw_name})


def own(folder: Path) -> None:
    """Make a folder with mode 0700 below one that is ours alone.

    One that is somebody else's, or that others could write to (earlier versions left that to the
    umask), is removed first, as is a link; one that they could read is closed to them.

    Raises:
        OSError: it cannot be made, or not be made ours.
    """
    with suppress(FileNotFoundError):
        status = folder.lstat()
        if not stat.S_ISDIR(status.st_mode):
            folder.unlink()
        elif status.st_uid != os.geteuid() or _others_write(status):
            _remove(folder)
    with suppress(FileExistsError):
        os.mkdir(folder, 0o700)
    status = folder.lstat()
    _require_owner(status, folder)
    if not stat.S_ISDIR(status.st_mode) or _others_write(status):
        raise UntrustedError(0, f"others can write to {folder}", str(folder))
    if stat.S_IMODE(status.st_mode) != 0o700:
        folder.chmod(0o700)


def require_ours(path: Path) -> None:
    """Raise OSError unless a file or folder is ours, nobody else can write to it, and it is no
    link."""
    status = path.lstat()
    _require_owner(status, path)
    if stat.S_ISLNK(status.st_mode) or _others_write(status):
        raise UntrustedError(0, f"others can write to {path}", str(path))


def _remove(folder: Path) -> None:
    """Remove a folder under another name, so that nobody takes it for whole meanwhile."""
    import shutil

    away = folder.with_name(f".{folder.name}.{os.urandom(8).hex()}")
    os.rename(folder, away)
    shutil.rmtree(away, ignore_errors=True)


def digest_of(path: Path) -> str:
    """Size and SHA-256 of a regular file of ours, as they are kept beside it.

    Raises:
        OSError: it is missing, a link, somebody else's, or others can write to it.
    """
    with open_regular(path, follow=False) as file:
        status = os.fstat(file.fileno())
        _require_owner(status, path)
        if _others_write(status):
            raise UntrustedError(0, f"others can write to {path}", str(path))
        content = file.read()
    return f"{len(content)} {hashlib.sha256(content).hexdigest()}\n"


def is_whole(path: Path) -> bool:
    """Whether a file is what was written, by what stands beside it."""
    try:
        with open_regular(_beside(path), follow=False) as file:
            return file.read(200).decode("ascii") == digest_of(path)
    except (OSError, ValueError):
        return False


def _beside(path: Path) -> Path:
    name = path.name
    if len(name) > _LONGEST_NAME:
        name = hashlib.blake2b(name.encode(), digest_size=16).hexdigest()
    return path.with_name(f"{name}.sha256")


def keep(new: Path, path: Path) -> None:
    """Move a file of ours that was just compiled to where it stays, with what it is beside it.

    Raises:
        OSError: it cannot be written.
    """
    new.chmod(0o700)
    sync(new)
    os.replace(new, path)
    write_whole(_beside(path), digest_of(path))


def keep_folder(folder: Path) -> None:
    """Write down what the libraries below a folder are; the last thing that is written.

    Raises:
        OSError: it cannot be written.
    """
    for path in folder.rglob("*.so"):
        path.chmod(0o700)
        sync(path)
    write_whole(folder / _ALL, _digests(folder))


def is_whole_folder(folder: Path) -> bool:
    """Whether the libraries below a folder are those that `keep_folder` wrote down."""
    try:
        with open_regular(folder / _ALL, follow=False) as file:
            return file.read().decode() == _digests(folder)
    except (OSError, ValueError):
        return False


def _digests(folder: Path) -> str:
    """A line for each library; one that has several names is read once."""
    known: dict[tuple[int, int], str] = {}
    lines = []
    for path in sorted(folder.rglob("*.so")):
        status = path.lstat()
        file = status.st_dev, status.st_ino
        if file not in known:
            known[file] = digest_of(path)
        lines.append(f"{path.relative_to(folder)} {known[file]}")
    return "".join(lines)


def remove(folder: Path) -> None:
    """Remove a folder of ours, so that nobody takes it for whole meanwhile."""
    with suppress(FileNotFoundError):
        _remove(folder)


def library(
    path: Path, build: Callable[[Path], bool], names: Iterable[str], mode: int = ctypes.RTLD_LOCAL
) -> ctypes.CDLL | None:
    """Load a library, compiled if it is not there, not whole, or lacks a name.

    Args:
        path: in a folder that `own` has made.
        build: compiles it to a path; whether it could.
        names: what it must export.

    Raises:
        OSError: it cannot be written.
    """
    for is_new in (False, True):
        if (is_new or not is_whole(path)) and not _built(path, build):
            return None
        with suppress(OSError):
            loaded = ctypes.CDLL(str(path), mode=mode)
            if all(hasattr(loaded, name) for name in names):
                return loaded
            # Or the loader would take the new one for this one.
            ctypes.CDLL(None).dlclose(ctypes.c_void_p(loaded._handle))
    return None


def _built(path: Path, build: Callable[[Path], bool]) -> bool:
    import tempfile

    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        new = Path(scratch) / path.name
        if not build(new):
            return False
        keep(new, path)
    return True
