"""The cache of compiled code: where it is kept, and how damage and tampering are detected.

A user who can change a library can do everything that the users who load it can. So it is kept in
folders that no other user can write to, read or exchange: owned by us, mode 0700, no links, below
folders that others cannot replace. A library that a power failure left half-written would kill the
process that loads it, so the size and hash of each are written beside it once it is on the disk,
and compared before it is loaded; one that differs is compiled again. If no such folder can be made,
a temporary one is used for this process.

The package's import waits for this module: modules that only compiling needs are imported there.
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

# Bytes of a file's name to which an ending is appended; file systems allow 255.
_LONGEST_NAME = 240
# The file that `keep_folder` writes.
_ALL = "libraries.sha256"


class UntrustedError(OSError):
    """Other users can change a file or folder; the message states how."""


@cache
def root() -> Path:
    """Return the folder for compiled code: in the cache or, with a warning, a temporary one.

    Raises:
        OSError: not even a temporary one can be made.
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
        f"compiled code cannot be kept in {folder} ({reason}), so it is compiled again at every "
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
    """Make the folder of compiled code, or check that it is ours alone.

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
    """Check that no other user can replace a folder or one above it.

    Args:
        folder: without links; parts of the path that do not exist yet are skipped.

    Raises:
        OSError: another user can.
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
    """Tell whether other users can write to a file or folder of ours."""
    mode = status.st_mode
    return bool(mode & stat.S_IWOTH or (mode & stat.S_IWGRP and _is_shared(status)))


def _is_shared(status: os.stat_result) -> bool:
    """Tell whether a group has other members than us.

    Many systems give each user a group of their own, which may write to all of the user's files.
    """
    import grp
    import pwd

    try:
        group, user = grp.getgrgid(status.st_gid), pwd.getpwuid(os.geteuid())
    except KeyError:
        return True
    return group.gr_name != user.pw_name or bool(set(group.gr_mem) - {user.pw_name})


def own(folder: Path) -> None:
    """Make a folder with mode 0700 below one that is ours alone.

    A folder of another user, or one that others could write to (earlier versions left that to the
    umask), is removed first, as is a link; a folder that others could read is closed to them.

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
    """Raise OSError unless a file or folder is ours alone to write to, and not a link."""
    status = path.lstat()
    _require_owner(status, path)
    if stat.S_ISLNK(status.st_mode) or _others_write(status):
        raise UntrustedError(0, f"others can write to {path}", str(path))


def _remove(folder: Path) -> None:
    """Rename a folder, then remove it, so that no process uses it half-removed."""
    import shutil

    away = folder.with_name(f".{folder.name}.{os.urandom(8).hex()}")
    os.rename(folder, away)
    shutil.rmtree(away, ignore_errors=True)


def digest_of(path: Path) -> str:
    """Return size and SHA-256 of a regular file of ours, as they are written beside it.

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


def is_intact(path: Path) -> bool:
    """Tell whether a file has the size and hash that were written beside it."""
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
    """Move a newly compiled file to its place, and write its size and hash beside it.

    Raises:
        OSError: it cannot be written.
    """
    new.chmod(0o700)
    sync(new)
    os.replace(new, path)
    write_whole(_beside(path), digest_of(path))


def keep_folder(folder: Path) -> None:
    """Write the hashes of the libraries below a folder; to be called after all are written.

    Raises:
        OSError: it cannot be written.
    """
    for path in folder.rglob("*.so"):
        path.chmod(0o700)
        sync(path)
    write_whole(folder / _ALL, _digests(folder))


def is_intact_folder(folder: Path) -> bool:
    """Tell whether the libraries below a folder have the hashes that `keep_folder` wrote."""
    try:
        with open_regular(folder / _ALL, follow=False) as file:
            return file.read().decode() == _digests(folder)
    except (OSError, ValueError):
        return False


def _digests(folder: Path) -> str:
    """Hash each library in a line; one that has several names is read once."""
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
    """Remove a folder of ours so that no process uses it half-removed; nothing if it is missing."""
    with suppress(FileNotFoundError):
        _remove(folder)


def load_library(
    path: Path, build: Callable[[Path], bool], names: Iterable[str], mode: int = ctypes.RTLD_LOCAL
) -> ctypes.CDLL | None:
    """Load a library; compile it first if it is missing, damaged, or lacks a name.

    Args:
        path: in a folder that `own` has made.
        build: compiles it to a path, and returns whether it could.
        names: of the functions that it must export.
        mode: of loading, for `ctypes.CDLL`.

    Returns:
        The library, or None if it cannot be compiled or loaded.

    Raises:
        OSError: it cannot be written.
    """
    for is_new in (False, True):
        if (is_new or not is_intact(path)) and not _built(path, build):
            return None
        with suppress(OSError):
            loaded = ctypes.CDLL(str(path), mode=mode)
            if all(hasattr(loaded, name) for name in names):
                return loaded
            # Unload it, or the loader would return it again instead of the new one.
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
