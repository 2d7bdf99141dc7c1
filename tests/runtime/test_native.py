"""Computations in C (`runtime/native`) on Linux CPUs."""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import platform
import shutil
import sys
import threading
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from scipy.special import expit

from mlx_chatterbox.runtime import native
from tests.runtime.processes import printed

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux")
    or shutil.which("gcc") is None
    or ctypes.util.find_library("openblas") is None,
    reason="a Linux CPU with OpenBLAS and a compiler",
)
ROW_MAJOR, PLAIN, TRANSPOSED = 101, 111, 112

# Instruction sets of other processors, which change the number of lanes that the code uses.
TARGETS = {"native": "-march=native"}
if sys.platform == "linux" and "avx2" in Path("/proc/cpuinfo").read_text():
    TARGETS["avx2"] = "-march=haswell"
if platform.machine() == "x86_64":
    TARGETS["sse"] = "-march=x86-64"


@pytest.fixture(scope="module", params=TARGETS)
def product(request, tmp_path_factory):
    """Our `cblas_sgemm` alone, for an instruction set; products that it passes on are counted."""
    path = tmp_path_factory.mktemp("native") / "native.so"
    assert native.compile_to(path, "gcc", TARGETS[request.param], "-Wall", "-Wextra", "-Werror")
    library = ctypes.CDLL(str(path))
    library.handed_on = 0

    @ctypes.CFUNCTYPE(None)
    def ordinary():
        library.handed_on += 1

    library.asked = 0

    @ctypes.CFUNCTYPE(ctypes.c_int)
    def threads():
        library.asked += 1
        return 3

    library.interpose_sgemm(ordinary, threads)
    library.keep = (ordinary, threads)
    return library


def multiply(library, x, w, out, alpha=1.0, beta=0.0, layout=TRANSPOSED):
    def pointer(array):
        return array.ctypes.data_as(ctypes.c_void_p), array.strides[0] // 4

    rows, depth = x.shape
    library.cblas_sgemm(
        *(ROW_MAJOR, PLAIN, layout, rows, w.shape[0], depth, ctypes.c_float(alpha)),
        *(*pointer(x), *pointer(w), ctypes.c_float(beta), *pointer(out)),
    )
    return out


def pointers(*arrays):
    return [None if a is None else ctypes.c_void_p(a.ctypes.data) for a in arrays]


def exact(x, w):
    return x.astype(np.float64) @ w.T.astype(np.float64)


@pytest.mark.parametrize("rows", range(1, 17))
@pytest.mark.parametrize(("columns", "depth"), [(1, 1), (25, 7), (47, 64), (600, 515), (24, 16)])
def test_products_of_any_size_are_right(product, rows, columns, depth):
    """Results inside a larger matrix leave its other entries alone."""
    draw = np.random.default_rng(rows * columns + depth)
    x = draw.normal(size=(rows, depth + 3)).astype(np.float32)[:, 1 : depth + 1]
    w = draw.normal(size=(columns, depth + 5)).astype(np.float32)[:, 2 : depth + 2]
    whole = np.full((rows, columns + 2), np.nan, np.float32)
    result = multiply(product, x, w, whole[:, :columns])
    assert np.abs(result - exact(x, w)).max() <= 1e-6 * np.sqrt(depth) * 8
    assert np.isnan(whole[:, columns:]).all()
    assert product.handed_on == 0


def test_the_product_is_added_to_the_output(product):
    draw = np.random.default_rng(0)
    x, w = (draw.normal(size=(n, 40)).astype(np.float32) for n in (5, 30))
    before = draw.normal(size=(5, 30)).astype(np.float32)
    result = multiply(product, x, w, before.copy(), alpha=0.5, beta=2.0)
    np.testing.assert_allclose(result, 0.5 * exact(x, w) + 2.0 * before, atol=1e-5)


def test_unsupported_products_are_passed_on(product):
    draw = np.random.default_rng(0)
    out = np.zeros((17, 8), np.float32)
    multiply(product, draw.normal(size=(17, 8)).astype(np.float32), np.eye(8, dtype="f4"), out)
    multiply(product, np.eye(8, dtype="f4"), np.eye(8, dtype="f4"), out, layout=PLAIN)
    assert product.handed_on == 2
    product.handed_on = 0


def test_several_callers_at_once(product):
    """The helpers serve one product at a time, the others go without."""
    draw = np.random.default_rng(0)
    x = draw.normal(size=(4, 512)).astype(np.float32)
    w = draw.normal(size=(1500, 512)).astype(np.float32)
    wanted, wrong = exact(x, w), []

    def call():
        for _ in range(50):
            result = multiply(product, x, w, np.empty((4, 1500), np.float32))
            if np.abs(result - wanted).max() > 1e-3:
                wrong.append(result)

    callers = [threading.Thread(target=call) for _ in range(3)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(timeout=60)
        assert not caller.is_alive()
    assert not wrong


def test_our_blas_is_independent_of_the_processs_own(product):
    """MLX's product does not ask the process's OpenBLAS for its number of threads."""
    ours = native.library()
    assert ours is not None
    product.asked = 0
    x = mx.ones((2, 600)) @ mx.ones((600, 600)).T
    mx.eval(x)
    assert product.asked == 0


def test_the_product_works_after_a_fork(product):
    """The child has no helper threads and starts its own."""
    draw = np.random.default_rng(0)
    x = draw.normal(size=(2, 512)).astype(np.float32)
    w = draw.normal(size=(1500, 512)).astype(np.float32)
    multiply(product, x, w, np.empty((2, 1500), np.float32))
    child = os.fork()
    if child == 0:
        result = multiply(product, x, w, np.empty((2, 1500), np.float32))
        os._exit(int(np.abs(result - exact(x, w)).max() > 1e-3))
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize(
    ("heads", "depth", "frames", "sources", "later"),
    [
        (8, 64, 300, 300, 0),
        (8, 64, 150, 150, 151),
        (2, 7, 50, 33, 0),
        (2, 7, 50, 30, 3),
        (1, 64, 1, 5, 1),
        (3, 20, 49, 9, 64),
        (1, 1, 1, 1, 0),
    ],
)
@pytest.mark.parametrize("size", [1.0, 30.0])
def test_attention(product, heads, depth, frames, sources, later, size):
    """Keys in two pieces, too, and scores of hundreds, where all weights except one vanish."""
    draw = np.random.default_rng(frames)
    queries, keys, values = (
        draw.normal(size=(heads * depth, n)).astype(np.float32)
        for n in (frames, sources + later, sources + later)
    )
    queries *= size
    out = np.full_like(queries, np.nan)
    pieces = [np.ascontiguousarray(a[:, :sources]) for a in (keys, values)]
    pieces += [np.ascontiguousarray(a[:, sources:]) for a in (keys, values)]
    given = pointers(queries, *pieces, out)
    sizes = (heads, depth, frames, sources, later)
    assert product.attend_columns(*given, *sizes, ctypes.c_float(depth**-0.5)) == 0
    q, k, v = (a.reshape(heads, depth, -1).astype(np.float64) for a in (queries, keys, values))
    scores = np.einsum("hdt,hds->hts", q, k) * depth**-0.5
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    wanted = np.einsum("hts,hds->hdt", weights / weights.sum(axis=-1, keepdims=True), v)
    # Scores are rounded to float32, and their error is that of the weights' logarithms.
    bound = 1e-6 + 4 * np.finfo(np.float32).eps * np.abs(scores).max()
    assert np.abs(out - wanted.reshape(out.shape)).max() <= bound * np.abs(v).max()


@pytest.mark.parametrize(
    ("lines", "frames", "inputs", "outputs", "high", "taps", "dilation", "stride"),
    [
        (1, 1, 1, 1, 1, 1, 1, 1),
        (1, 100, 7, 18, 1, 3, 2, 1),
        (1, 385, 16, 64, 1, 5, 1, 1),
        (1, 11, 20, 130, 1, 2, 4, 1),
        (5, 40, 3, 32, 3, 3, 1, 2),
        (2, 400, 4, 70, 2, 3, 2, 3),
    ],
)
@pytest.mark.parametrize("with_bias", [True, False])
def test_convolution(
    product, lines, frames, inputs, outputs, high, taps, dilation, stride, with_bias
):
    draw = np.random.default_rng(frames)
    shape = (stride * (lines - 1) + high, frames + dilation * (taps - 1), inputs)
    x = draw.normal(size=shape).astype(np.float32)
    weight = draw.normal(size=(outputs, high, taps, inputs)).astype(np.float32)
    bias = draw.normal(size=outputs).astype(np.float32)
    out = np.full((lines, frames, outputs), np.nan, np.float32)
    given = pointers(x, weight, bias if with_bias else None, out)
    sizes = (lines, frames, inputs, outputs, high, taps, dilation, stride)
    assert product.convolve(*given, *sizes) == 0
    wanted = np.zeros(out.shape) + (bias if with_bias else 0)
    for line in range(high):
        for tap in range(taps):
            seen = x[line::stride][:lines, tap * dilation :][:, :frames].astype(np.float64)
            wanted += seen @ weight[:, line, tap].T
    assert np.abs(out - wanted).max() <= 1e-6 * np.sqrt(high * taps * inputs) * 8


@pytest.mark.parametrize(
    ("frames", "channels", "taps"), [(1, 1, 1), (30, 33, 31), (6, 64, 4), (9, 200, 3)]
)
def test_depthwise_convolution(product, frames, channels, taps):
    draw = np.random.default_rng(frames)
    x = draw.normal(size=(frames + taps - 1, channels)).astype(np.float32)
    weight = draw.normal(size=(taps, channels)).astype(np.float32)
    out = np.full((frames, channels), np.nan, np.float32)
    assert product.convolve_depthwise(*pointers(x, weight, out), frames, channels, taps) == 0
    wanted = sum(x[tap : tap + frames].astype(np.float64) * weight[tap] for tap in range(taps))
    assert np.abs(out - wanted).max() <= 1e-6 * np.sqrt(taps) * 8


@pytest.mark.parametrize("rows", [1, 2, 5, 6, 7, 13, 20])
@pytest.mark.parametrize("units", [1, 16, 37])
def test_lstm(product, rows, units):
    """Gates far into saturation are included."""
    draw = np.random.default_rng(rows)
    steps = 9
    fed = (8 * draw.normal(size=(rows, steps, 4, units))).astype(np.float32)
    weight = draw.normal(size=(4, units, units)).astype(np.float32)
    fed[0] *= 100
    out = np.full((rows, steps, units), np.nan, np.float32)
    assert product.lstm_layer(*pointers(fed, weight, out), rows, steps, units) == 0

    hidden = cell = np.zeros((rows, units))
    for step in range(steps):
        gates = np.einsum("guk,bk->gbu", weight.astype(np.float64), hidden)
        enter, forget, new, leave = gates + fed[:, step].swapaxes(0, 1)
        cell = expit(forget) * cell + expit(enter) * np.tanh(new)
        hidden = expit(leave) * np.tanh(cell)
        # Gate inputs of 800 are rounded by 3e-5, which is the gate's error.
        bound = np.where(np.arange(rows) == 0, 1e-3, 2e-5)[:, None]
        assert (np.abs(out[:, step] - hidden) <= bound).all()


THROUGH_MLX = """
import ctypes
import mlx_chatterbox
import mlx.core as mx
import numpy as np
x, w = mx.random.normal((3, 300)), mx.random.normal((200, 300))
bias = mx.random.normal((200,))
wanted = np.array(x).astype("f8") @ np.array(w).T + np.array(bias)
right = np.abs(np.array(mx.addmm(bias, x, w.T)) - wanted).max() < 1e-3
print(right, hasattr(ctypes.CDLL(None), "interpose_sgemm"))
"""


@pytest.mark.parametrize(
    ("environment", "ours"),
    [
        ({}, True),
        ({"MLX_CHATTERBOX_KERNELS": "plain"}, False),
        ({"MLX_CHATTERBOX_BLAS": "none"}, False),
        ({"PATH": "/nowhere", "XDG_CACHE_HOME": "EMPTY"}, False),
        ({"XDG_CACHE_HOME": "EMPTY"}, True),
        ({"XDG_CACHE_HOME": "/proc/no-such-folder"}, True),
    ],
    ids=["by itself", "switched off", "no BLAS", "no compiler", "first time", "nowhere to write"],
)
def test_mlx_uses_our_product(environment, ours, tmp_path):
    environment = {k: str(tmp_path) if v == "EMPTY" else v for k, v in environment.items()}
    assert printed(THROUGH_MLX, **environment) == f"True {ours}"


COMPILED_FOR = """
import warnings
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    import mlx_chatterbox
    import mlx.core as mx
    from mlx_chatterbox.nn import cpu_kernels
    from mlx_chatterbox.runtime import native
    mx.set_default_device(mx.cpu)
    cpu_kernels.tuned()
print(native.library() is not None, [str(one.message) for one in said])
"""


def compiled_for(name: str, cache: Path) -> str:
    return printed(COMPILED_FOR, MLX_CHATTERBOX_ISA=name, XDG_CACHE_HOME=str(cache))


@pytest.mark.skipif(platform.machine() != "x86_64", reason="names of x86 processors")
def test_another_instruction_set_is_compiled_for_and_kept_apart(tmp_path):
    for count, name in enumerate(("", "x86-64"), start=1):
        assert compiled_for(name, tmp_path) == "True []"
        kept = tmp_path / "mlx-chatterbox" / "kernels"
        codes = [path.read_bytes() for path in kept.glob("*/native.so")]
        assert len(codes) == len(list(kept.glob("*/mlx/kernels.so"))) == count
    assert codes[0] != codes[1]


def unsupported() -> str:
    """An instruction set that this processor lacks, and that compilers of any age know."""
    return "" if "fma4" in Path("/proc/cpuinfo").read_text() else "bdver4"


@pytest.mark.skipif(platform.machine() != "x86_64", reason="names of x86 processors")
def test_an_unavailable_instruction_set_is_reported(tmp_path):
    told = compiled_for("no-such-processor", tmp_path)
    assert told.startswith("False ")
    assert "MLX_CHATTERBOX_ISA=no-such-processor: gcc does not know it" in told
    assert "g++ does not know it" in told
    if unsupported():
        told = compiled_for(unsupported(), tmp_path)
        assert told.startswith("False ")
        assert "the processor lacks" in told
    assert not list(tmp_path.glob("**/native.so"))
    assert not list(tmp_path.glob("**/kernels.so"))


@pytest.mark.parametrize("does", ["exit 1", "kill -9 $$"])
def test_a_compiler_that_fails_is_not_an_error(tmp_path, does):
    compiler = tmp_path / "gcc"
    compiler.write_text(f"#!/bin/sh\n{does}\n")
    compiler.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    assert printed(THROUGH_MLX, PATH=path, XDG_CACHE_HOME=str(tmp_path)) == "True False"
