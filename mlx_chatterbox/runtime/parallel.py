"""Independent work on two cores at once, on the CPU.

There MLX computes elementwise work on one thread and leaves matrix products alone to the BLAS to
spread. On two or three cores it is faster to give each of two equal pieces of work a core of its
own, BLAS included; on more, the BLAS's threads gain more than a second stream does.
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
# Held while two are running: whatever they call themselves has one core to itself.
_running = Lock()
_choosing = RLock()


@cache
def _blas() -> ctypes.CDLL | None:
    """The process's OpenBLAS, if MLX uses one whose threads can be set."""
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
    """Whether `run_two` gains anything here and now.

    That is on a CPU with two or three cores and with OpenBLAS, and not within another `run_two`.
    """
    return device.on_cpu() and _cores() in _CORES and _blas() is not None and not _running.locked()


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
    """A CPU stream beside the thread's default one; streams belong to the thread that made them."""
    if not hasattr(_local, "stream"):
        _local.stream = mx.new_stream(mx.cpu)
    return _local.stream


class _Worker:
    """A second thread with a stream of its own.

    It is never ended: what MLX keeps for a thread that compiled something needs the interpreter
    when it is given up, and at the end of a process that is no longer there.
    """

    def __init__(self):
        self._tasks: SimpleQueue[tuple[Callable, Future]] = SimpleQueue()
        Thread(target=self._run, name="mlx-chatterbox", daemon=True).start()
        self._stream = self._submit(lambda: mx.new_stream(mx.cpu)).result()

    def start(self, work: Callable) -> Future:
        """Work whose result is to be evaluated."""
        return self._submit(lambda: _evaluated(work, self._stream))

    def start_all(self, work: Callable[[], None]) -> Future:
        """Work that evaluates what it makes."""

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
            except BaseException as error:  # it is raised where the result is asked for
                future.set_exception(error)
            # Nothing may be kept until the next task comes.
            del task, future


_worker = cache(_Worker)


def _evaluated(work: Callable, stream: mx.Stream):
    with mx.stream(stream):
        result = work()
        mx.eval(result)
    return result


def run_two(first: Callable, second: Callable) -> tuple:
    """Both results, evaluated, computed at the same time; only where `can_run_two` says so.

    Args:
        first, second: make an array, or a tuple of some, from arrays that are evaluated already:
            none may be evaluated by two threads at once, nor by another than made it.
    """
    with _running, _single_threaded_blas():
        other = _worker().start(second)
        try:
            one = _evaluated(first, mx.default_stream(mx.default_device()))
        finally:
            wait([other])
        return one, other.result()


def run_all(works: Sequence[Callable]) -> list:
    """The results of independent pieces of work, two at a time where that gains anything.

    Each then has one core, also one that is alone: what it comes to does not depend on the others.
    A work may call this itself: what it hands out is done before what was not begun yet, by
    whichever of the two is free.

    Args:
        works: each evaluates what it makes, of arrays that are evaluated already.
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
    """Two threads, and what is left for them to do."""

    def __init__(self):
        self._left: deque[Callable[[], None]] = deque()
        self._is_over = False
        self._failure: BaseException | None = None
        self._changed = Condition()

    def lead(self, works: Sequence[Callable]) -> list:
        """Their results, with the help of another thread."""
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
        """Work until there is no more, or something failed, which the leading thread raises."""
        _local.crew = self
        try:
            self._work_until(lambda: self._is_over)
        except BaseException as error:
            self._fail(error)
        finally:
            _local.crew = None

    def run(self, works: Sequence[Callable]) -> list:
        """Their results; of a thread of the crew."""
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
    """Where `can_run_two` depends on nothing that another thread of the program does.

    Work on two cores is rounded otherwise than on one: without this the same seed would give other
    last bits when two threads speak at the same time. Elsewhere nobody waits, nor within `run_all`,
    where it is chosen already.
    """
    if getattr(_local, "crew", None) is None and device.on_cpu() and _cores() in _CORES:
        with _choosing:
            yield
    else:
        yield
