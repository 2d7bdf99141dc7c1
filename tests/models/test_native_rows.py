"""Products of tens and hundreds of rows in C (`runtime/native/many_rows.c`), and their limit."""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import shutil
import sys
import threading
import time

import numpy as np
import pytest

from mlx_chatterbox.runtime import linux_cpu, native
from mlx_chatterbox.runtime.native import choice
from tests.runtime.test_native import PLAIN, TARGETS, exact, multiply

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux")
    or shutil.which("gcc") is None
    or ctypes.util.find_library("openblas") is None,
    reason="a Linux CPU with OpenBLAS and a compiler",
)

MOST = 400
NEEDED = ("few_rows.c", "many_rows.c", "pool.c")


@pytest.fixture(scope="module", params=TARGETS)
def product(request, tmp_path_factory):
    """Our `cblas_sgemm` alone, for an instruction set; products that it passes on are counted."""
    path = tmp_path_factory.mktemp("native") / "native.so"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "SOURCES", [s for s in native.SOURCES if s.name in NEEDED])
        assert native.compile_to(path, "gcc", TARGETS[request.param], "-Wall", "-Wextra", "-Werror")
    library = ctypes.CDLL(str(path))
    library.handed_on, library.threads = 0, 3

    @ctypes.CFUNCTYPE(None)
    def ordinary():
        library.handed_on += 1

    @ctypes.CFUNCTYPE(ctypes.c_int)
    def threads():
        return library.threads

    library.interpose_sgemm(ordinary, threads)
    library.keep = (ordinary, threads)
    library.take_rows(MOST)
    return library


def drawn(rows: int, columns: int, depth: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and weights, each within a larger matrix."""
    draw = np.random.default_rng(rows * columns + depth)
    x = draw.normal(size=(rows, depth + 3)).astype(np.float32)[:, 1 : depth + 1]
    w = draw.normal(size=(columns, depth + 5)).astype(np.float32)[:, 2 : depth + 2]
    return x, w


def rounding(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Largest error of sums whose roundings, one for each term, are independent.

    Each is at most half of eps of a partial sum, which is at most the sum of the terms' sizes; that
    so many together come to four times their root mean square has a probability of some 1e-15
    (Higham and Mary, A New Approach to Probabilistic Rounding Error Analysis, 2019).
    """
    return 2 * np.finfo(np.float32).eps * np.sqrt(x.shape[1]) * exact(np.abs(x), np.abs(w))


@pytest.mark.parametrize("rows", [9, 16, 17, 31, 32, 33, 49, 64, 99, 240, 241, 399])
@pytest.mark.parametrize(
    ("columns", "depth"), [(512, 128), (513, 131), (67, 1000), (9, 8191), (5, 16384)]
)
def test_products_of_any_size_are_right(product, rows, columns, depth):
    """Results inside a larger matrix leave its other entries alone."""
    product.handed_on = 0
    x, w = drawn(rows, columns, depth)
    whole = np.full((rows, columns + 2), np.nan, np.float32)
    result = multiply(product, x, w, whole[:, :columns])
    assert (np.abs(result - exact(x, w)) <= rounding(x, w)).all()
    assert np.isnan(whole[:, columns:]).all()
    assert product.handed_on == 0


def test_the_product_is_added_to_the_output(product):
    x, w = drawn(70, 301, 400)
    before = np.random.default_rng(0).normal(size=(70, 301)).astype(np.float32)
    result = multiply(product, x, w, before.copy(), alpha=0.5, beta=2.0)
    wanted = 0.5 * exact(x, w) + 2.0 * before
    last = 2 * np.finfo(np.float32).eps * np.abs(wanted)
    assert (np.abs(result - wanted) <= rounding(x, w) + last).all()


def test_a_row_has_the_same_bits_in_any_batch(product):
    """The number of rows, the row's place among them and the threads do not matter."""
    x, w = drawn(300, 203, 1001)
    whole = multiply(product, x, w, np.empty((300, 203), np.float32))
    for first, last, threads in ((0, 17, 3), (5, 55, 1), (60, 300, 2), (0, 300, 1), (0, 300, 64)):
        product.threads = threads
        part = multiply(product, x[first:last], w, np.empty((last - first, 203), np.float32))
        product.threads = 3
        np.testing.assert_array_equal(part, whole[first:last])


def test_unsupported_products_are_passed_on(product):
    product.handed_on = 0
    for count, (rows, columns, depth) in enumerate(
        [(MOST + 1, 512, 128), (20, 511, 128), (20, 1024, 127), (20, 8, 16385)], start=1
    ):
        x, w = drawn(rows, columns, depth)
        multiply(product, x, w, np.empty((rows, columns), np.float32))
        assert product.handed_on == count
    x, w = drawn(256, 256, 256)
    multiply(product, x, w, np.empty((256, 256), np.float32), layout=PLAIN)
    assert product.handed_on == 5


def test_several_callers_at_once(product):
    """The helpers serve one product at a time, the others go without."""
    x, w = drawn(40, 700, 512)
    wanted = multiply(product, x, w, np.empty((40, 700), np.float32))
    wrong = []

    def call():
        for _ in range(20):
            result = multiply(product, x, w, np.empty((40, 700), np.float32))
            if not np.array_equal(result, wanted):
                wrong.append(result)

    callers = [threading.Thread(target=call) for _ in range(3)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(timeout=60)
        assert not caller.is_alive()
    assert not wrong


def test_the_product_works_after_a_fork(product):
    """The child has no helper threads and starts its own."""
    x, w = drawn(40, 700, 512)
    wanted = multiply(product, x, w, np.empty((40, 700), np.float32))
    child = os.fork()
    if child == 0:
        result = multiply(product, x, w, np.empty((40, 700), np.float32))
        os._exit(int(not np.array_equal(result, wanted)))
    assert os.waitpid(child, 0)[1] == 0


class Multiplier:
    """A BLAS that takes given milliseconds of a core for a product, by its rows."""

    def __init__(self, milliseconds, core: bytes = b"Any", threads: int = 4):
        self._milliseconds, self.threads, self.busy = milliseconds, threads, set()
        # A function object, whose result type can be set.
        self.openblas_get_corename = lambda: core
        self.openblas_get_num_threads = lambda: self.threads
        self.most = None

    def openblas_set_num_threads(self, threads: int) -> None:
        self.threads = threads

    def take_rows(self, most: int) -> None:
        self.most = most

    def cblas_sgemm(self, order, x_layout, w_layout, rows, *others) -> None:
        self.busy.add(self.threads)
        until = time.thread_time() + self._milliseconds(rows) / 1e3
        while time.thread_time() < until:
            pass


@pytest.mark.parametrize(
    ("of_weights", "most"), [(0.0, 0), (1.5, 128), (20.0, choice._ALL)], ids=str
)
def test_up_to_how_many_rows_is_measured(tmp_path, of_weights, most):
    """Our product copies the weights first, then is twice as fast a row; on one thread."""
    ours = Multiplier(lambda rows: rows * 0.02)
    theirs = Multiplier(lambda rows: of_weights + rows * 0.01)
    assert choice.most_rows(ours, theirs, tmp_path) == most
    assert ours.most == choice._ALL
    assert theirs.busy == {1}
    assert theirs.threads == 4


def test_what_was_measured_is_kept(tmp_path):
    """One result for each of the BLAS's kernels; an unreadable file is measured again."""
    quick, slow = Multiplier(lambda rows: 0.0), Multiplier(lambda rows: 1.0)
    assert choice.most_rows(quick, slow, tmp_path) == choice._ALL
    assert choice.most_rows(slow, slow, tmp_path) == choice._ALL
    (kept,) = tmp_path.iterdir()
    kept.write_text("no number")
    assert choice.most_rows(quick, slow, tmp_path) == choice._ALL
    other = Multiplier(lambda rows: 0.0, core=b"Other")
    assert choice.most_rows(slow, other, tmp_path) == 0
    assert len(list(tmp_path.iterdir())) == 2


def test_this_machines_was_measured():
    """The result is kept beside the compiled code."""
    if native.library() is None:
        pytest.skip("the compiled code is not in use")
    kept = native._compiled()[0] / f"rows-{linux_cpu.blas_core()}"
    assert int(kept.read_text()) in (0, *choice._LADDER, choice._ALL)
