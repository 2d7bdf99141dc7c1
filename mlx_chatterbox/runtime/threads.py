"""Threads of a program that compute, and end.

MLX keeps streams and compiled functions for each thread. Where a thread ends without giving its
streams up, the process can be aborted at its own end ("terminate called without an active
exception", exit code 134; MLX 0.32, on every system). So whatever computes says so here, and its
thread gives up what MLX keeps for it as the last thing that it does in Python.
"""

from __future__ import annotations

import threading

import mlx.core as mx

_of_thread = threading.local()


class _StreamKeeper:
    """Gives up the thread's streams when the thread's own data are deleted.

    Python does that in the ending thread itself, before `join` returns. Not earlier: a thread that
    has given up its streams cannot compute any more.
    """

    def __init__(self, clear_streams):
        # Kept here: at the end of the process names of modules may be gone.
        self._clear_streams = clear_streams

    def __del__(self):
        self._clear_streams()


def compute_in_this_thread() -> None:
    """Say that this thread computes; cheap, and may be said often."""
    if threading.current_thread() is threading.main_thread():
        return
    if not hasattr(_of_thread, "keeper"):
        _of_thread.keeper = _StreamKeeper(mx.clear_streams)
