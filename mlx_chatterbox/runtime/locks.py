"""Locks that the operating system releases when a process ends, however it ends."""

from __future__ import annotations

from typing import IO


def try_lock(file: IO | int, wait: bool = False) -> bool | None:
    """Lock an open file for this process alone, until it is closed.

    Args:
        wait: until another process releases it.

    Returns:
        Whether it is locked now; None where there are no such locks (Windows, some network file
        systems).
    """
    try:
        import fcntl
    except ImportError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True
