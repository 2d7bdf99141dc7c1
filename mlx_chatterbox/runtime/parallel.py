"""Independent work on two cores at once, on the CPU.

On the CPU MLX computes elementwise operations on one thread, and only the BLAS spreads matrix
products over several. With two or three cores it is faster to give each of two equal pieces of work
a core of its own, BLAS included; with more cores, the BLAS's threads gain more than a second
stream.
"""

from __future__ import annotations

import ctypes
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager
from functools import cache, partial
from queue import SimpleQueue
from threading import Condition, Lock, RLock, Thread, local

import mlx.core as mx

from . import device

_CORES = (2, 3)
# Held while two pieces of work are running, so that nested calls use one core.
_running = Lock()
_choosing = RLock()


@cache
def _blas() -> ctypes.CDLL | None:
    """Return the process's OpenBLAS if MLX uses one whose threads can be set, else None."""
    try:
        process = ctypes.CDLL(None)
    except (OSError, TypeError):
        return None
    names = ("openblas_set_num_threads", "openblas_get_num_threads")
    return process if all(hasattr(process, name) for name in names) else None


def _cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def can_run_two() -> bool:
    """Tell whether `run_two` is faster at this moment.

    It is on a CPU with two or three cores and with OpenBLAS, and not within another `run_two`.
    """
    return device.on_cpu() and _cores() in _CORES and _blas() is not None and not _running.locked()


@contextmanager
def prefill_threads(is_small: bool) -> Iterator[None]:
    """Fix the number of threads that a BLAS uses within the block, whatever else is running.

    A product on two threads is rounded differently than on one. So what a network reads before it
    speaks is always computed on as many: on one where `run_all` may give its work a core (a small
    network on two or three cores), else on all. Threads that compute at the same time are locked
    out where it matters.
    """
    if not (is_small and device.on_cpu() and _cores() in _CORES and _blas() is not None):
        with core_lock():
            yield
    elif getattr(_local, "crew", None) is not None:
        yield  # on one already
    else:
        with core_lock(), _single_threaded_blas():
            yield


@contextmanager
def _single_threaded_blas() -> Iterator[None]:
    blas = _blas()
    assert blas is not None  # `can_run_two`
    before = blas.openblas_get_num_threads()
    blas.openblas_set_num_threads(1)
    try:
        yield
    finally:
        blas.openblas_set_num_threads(before)


_local = local()


def second_stream() -> mx.Stream:
    """Return this thread's second CPU stream; streams belong to the thread that made them."""
    if not hasattr(_local, "stream"):
        _local.stream = mx.new_stream(mx.cpu)
    return _local.stream


class _Worker:
    """A second thread with a stream of its own.

    It never ends: MLX keeps compiled functions for each thread, and needs the interpreter to free
    them, which is gone at the end of a process.
    """

    def __init__(self):
        self._tasks: SimpleQueue[tuple[Callable, Future]] = SimpleQueue()
        Thread(target=self._run, name="mlx-chatterbox", daemon=True).start()
        self._stream = self._submit(lambda: mx.new_stream(mx.cpu)).result()

    def start(self, work: Callable) -> Future:
        """Start work whose result is to be evaluated."""
        return self._submit(lambda: _evaluated(work, self._stream))

    def start_all(self, work: Callable[[], None]) -> Future:
        """Start work that evaluates its results itself."""

        def on_its_stream() -> None:
            with mx.stream(self._stream):
                work()

        return self._submit(on_its_stream)

    def _submit(self, task: Callable) -> Future:
        future: Future = Future()
        self._tasks.put((task, future))
        return future

    def _run(self) -> None:
        while True:
            task, future = self._tasks.get()
            try:
                future.set_result(task())
            except BaseException as error:  # raised again where the result is read
                future.set_exception(error)
            # Or its arrays would stay in memory until the next task comes.
            del task, future


_worker = cache(_Worker)


def _evaluated(work: Callable, stream: mx.Stream):
    with mx.stream(stream):
        result = work()
        mx.eval(result)
    return result


def run_two(first: Callable, second: Callable) -> tuple:
    """Compute two results at the same time, and evaluate them; only if `can_run_two`.

    Args:
        first, second: make an array, or a tuple of arrays, from arrays that are evaluated already:
            an array must not be evaluated by two threads at once, nor by another than its maker.
    """
    with _running, _single_threaded_blas():
        other = _worker().start(second)
        try:
            one = _evaluated(first, mx.default_stream(mx.default_device()))
        finally:
            wait([other])
        return one, other.result()


def run_all(works: Sequence[Callable]) -> list:
    """Compute the results of independent pieces of work, two at a time if that is faster.

    In that case each has one core, even a single one, so that no result depends on the others. A
    piece of work may call this itself: its pieces are done before any that has not begun, by
    whichever of the two threads is free.

    Args:
        works: each evaluates its result, from arrays that are evaluated already.
    """
    crew = getattr(_local, "crew", None)
    if crew is not None:
        return crew.run(works)
    if not can_run_two():
        return [work() for work in works]
    crew = _Crew()
    with _running, _single_threaded_blas():
        other = _worker().start_all(crew.help)
        try:
            return crew.lead(works)
        finally:
            wait([other])


class _Crew:
    """Two threads, and the work that is left for them."""

    def __init__(self):
        self._left: deque[Callable[[], None]] = deque()
        self._is_over = False
        self._failure: BaseException | None = None
        self._changed = Condition()

    def lead(self, works: Sequence[Callable]) -> list:
        """Compute all results, with the help of another thread."""
        _local.crew = self
        try:
            return self.run(works)
        except BaseException as error:
            self._fail(error)
            raise
        finally:
            _local.crew = None
            with self._changed:
                self._is_over = True
                self._changed.notify_all()

    def help(self) -> None:
        """Work until nothing is left or something failed; the leading thread raises the error."""
        _local.crew = self
        try:
            self._work_until(lambda: self._is_over)
        except BaseException as error:
            self._fail(error)
        finally:
            _local.crew = None

    def run(self, works: Sequence[Callable]) -> list:
        """Compute all results; called by a thread of the crew."""
        results: dict[int, object] = {}

        def do(index: int, work: Callable) -> None:
            result = work()
            with self._changed:
                results[index] = result
                self._changed.notify_all()

        with self._changed:
            self._left.extendleft(reversed([partial(do, *one) for one in enumerate(works)]))
            self._changed.notify_all()
        self._work_until(lambda: len(results) == len(works))
        return [results[index] for index in range(len(works))]

    def _work_until(self, is_done: Callable[[], bool]) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._failure or self._left or is_done())
                # Nothing more is begun after a failure.
                if self._failure is not None:
                    raise self._failure
                if is_done():
                    return
                work = self._left.popleft()
            work()

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            if self._failure is None:
                self._failure = error
            self._changed.notify_all()


@contextmanager
def core_lock() -> Iterator[None]:
    """Make `can_run_two` independent of other threads of the program within the block.

    Work on two cores is rounded differently than on one, so that without this lock the same seed
    would give other last bits when two threads speak at the same time. It waits only on machines
    where `can_run_two` may be true, and not within `run_all`, which has the lock already.
    """
    if getattr(_local, "crew", None) is None and device.on_cpu() and _cores() in _CORES:
        with _choosing:
            yield
    else:
        yield
