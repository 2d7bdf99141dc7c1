"""Release of MLX's streams by threads that compute and end.

MLX keeps streams and compiled functions for each thread. If a thread ends without releasing its
streams, the process can be aborted at its own end ("terminate called without an active exception",
exit code 134; MLX 0.32, on every system). So code that computes registers its thread here, and the
thread releases its streams as the last thing that it does in Python.
"""

from __future__ import annotations

import threading

import mlx.core as mx

_of_thread = threading.local()


class _StreamKeeper:
    """Releases the thread's streams when the thread's own data are deleted.

    Python does that in the ending thread itself, before `join` returns. It cannot be earlier: a
    thread without its streams cannot compute any more.
    """

    def __init__(self, clear_streams):
        # Kept here: at the end of the process the module's names may be gone.
        self._clear_streams = clear_streams

    def __del__(self):
        self._clear_streams()


def compute_in_this_thread() -> None:
    """Register this thread as one that computes; cheap, and may be called often."""
    if threading.current_thread() is threading.main_thread():
        return
    if not hasattr(_of_thread, "keeper"):
        _of_thread.keeper = _StreamKeeper(mx.clear_streams)
