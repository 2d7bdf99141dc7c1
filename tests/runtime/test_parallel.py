"""Independent work on two cores: results, nested work, failures."""

from __future__ import annotations

import threading
import time

import mlx.core as mx
import pytest

from mlx_chatterbox.runtime import device, parallel

pytestmark = pytest.mark.numbers


@pytest.fixture
def two(monkeypatch):
    """A machine that gains from two threads, whatever this one is."""
    if parallel._blas() is None:
        pytest.skip("no OpenBLAS whose threads can be set")
    monkeypatch.setattr(parallel, "_cores", lambda: 2)
    with device.pretend("cpu"):
        yield


def test_results_are_in_order_and_two_threads_work(two):
    both = threading.Barrier(2, timeout=20)

    def work(number):
        if number < 2:  # each waits for the other: one thread alone would never pass
            both.wait()
        return number, threading.get_ident()

    found = parallel.run_all([lambda number=number: work(number) for number in range(6)])
    assert [number for number, _ in found] == list(range(6))
    assert len({thread for _, thread in found}) == 2


def test_nested_work_is_shared(two):
    """The second task ends at once; its thread helps with the nested work of the first."""
    both = threading.Barrier(2, timeout=20)

    def part():
        both.wait()
        return threading.get_ident()

    def first():
        return parallel.run_all([part, part])

    (threads, other) = parallel.run_all([first, lambda: "over"])
    assert len(set(threads)) == 2
    assert other == "over"


def test_nested_work_is_done_before_waiting_work(two):
    done = []

    def group(name):
        parallel.run_all([lambda i=i: (time.sleep(0.01), done.append((name, i))) for i in range(4)])

    parallel.run_all([lambda name=name: group(name) for name in "abcd"])
    assert sorted(done) == [(name, i) for name in "abcd" for i in range(4)]
    last_of_first_two = max(done.index((name, 3)) for name in "ab")
    assert last_of_first_two < min(done.index((name, 3)) for name in "cd")


def test_arrays_of_handed_out_work_are_right(two):
    x = mx.random.normal((64, 64), key=mx.random.key(1))
    mx.eval(x)

    def product(power):
        result = x
        for _ in range(power):
            result = result @ x
        mx.eval(result)
        return result

    def group(first):
        return parallel.run_all([lambda p=p: product(p) for p in range(first, first + 3)])

    found = [one for part in parallel.run_all([lambda: group(1), lambda: group(4)]) for one in part]
    for power, one in enumerate(found, start=1):
        assert mx.allclose(one, product(power), rtol=1e-4).item()


@pytest.mark.parametrize("where", ["outside", "within"])
@pytest.mark.parametrize("which", [0, 1, 3])
def test_a_failure_ends_both_and_is_raised_once(two, where, which):
    begun = []

    def work(number):
        begun.append(number)
        if number == which:
            raise ZeroDivisionError(f"number {number}")
        time.sleep(0.02)

    works = [lambda number=number: work(number) for number in range(40)]
    if where == "within":
        outside = works
        works = [lambda: parallel.run_all(outside), lambda: None]
    with pytest.raises(ZeroDivisionError, match=f"number {which}"):
        parallel.run_all(works)
    assert len(begun) < 10
    # No trace of it is left.
    assert parallel.can_run_two()
    assert parallel.run_all([lambda: 1, lambda: 2, lambda: 3]) == [1, 2, 3]


def test_an_interrupt_ends_the_other_thread_too(two):
    first, begun = threading.Event(), []

    def interrupted():
        begun.append(threading.get_ident())
        if threading.current_thread() is threading.main_thread():
            first.wait(20)
            raise KeyboardInterrupt
        first.set()
        time.sleep(0.05)

    with pytest.raises(KeyboardInterrupt):
        parallel.run_all([interrupted] * 50)
    assert len(begun) < 10
    assert parallel.can_run_two()


def test_nested_calls_start_no_second_pair_and_do_not_wait(two):
    def look():
        with parallel.core_lock():
            return parallel.can_run_two()

    with parallel.core_lock():
        assert parallel.run_all([look, look, look]) == [False] * 3
    assert parallel.can_run_two()
