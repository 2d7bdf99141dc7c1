"""Threads of a program that compute, and end.

On Linux, MLX gives up what it keeps for a thread while the thread ends, which is a moment after
Python's `join` has returned. Where the process ends in that same moment it is aborted ("terminate
called without an active exception", MLX 0.32). So the end of the process waits for such threads.
"""

from __future__ import annotations

import atexit
import sys
import threading
import time
from functools import cache
from pathlib import Path

_LONGEST_WAIT = 1.0
_TASKS = Path("/proc/self/task")

_lock = threading.Lock()
_threads: dict[int, threading.Thread] = {}


def compute_in_this_thread() -> None:
    """Say that this thread computes; cheap, and may be said often."""
    if not sys.platform.startswith("linux"):
        return
    thread = threading.current_thread()
    if thread is threading.main_thread():
        return
    with _lock:
        number = threading.get_native_id()
        if _threads.get(number) is thread:
            return
        _wait_at_the_end()
        for over in [n for n, known in _threads.items() if _is_over(n, known)]:
            del _threads[over]
        _threads[number] = thread


@cache
def _wait_at_the_end() -> None:
    atexit.register(_wait)


def _is_over(number: int, thread: threading.Thread) -> bool:
    return not thread.is_alive() and not (_TASKS / str(number)).exists()


def _wait() -> None:
    """Until those that Python has done with are over; not for those that still work."""
    until = time.monotonic() + _LONGEST_WAIT
    for number, thread in list(_threads.items()):
        while not thread.is_alive() and not _is_over(number, thread):
            if time.monotonic() > until:
                return
            time.sleep(0.001)
