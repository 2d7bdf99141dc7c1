"""Kernels for this processor and work on two cores: the same results, and no traces left."""

from __future__ import annotations

import os
import sys

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

from mlx_chatterbox.models.s3gen import estimator
from mlx_chatterbox.models.s3gen.estimator import BasicTransformerBlock
from mlx_chatterbox.nn import activations, attention, conv, cpu_kernels
from mlx_chatterbox.nn.conv2d import Conv2d
from mlx_chatterbox.nn.lstm import LSTM
from mlx_chatterbox.runtime import device, native, parallel
from tests.rounding import Rounding
from tests.runtime.processes import printed

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux CPUs alone")

TUNED = """
import os
import mlx_chatterbox
import mlx.core as mx
from mlx_chatterbox.nn import cpu_kernels
before = dict(os.environ)
mx.set_default_device(mx.cpu)
print(cpu_kernels.tuned(), dict(os.environ) == before)
"""


def report(code: str, **environment: str) -> list[str]:
    return printed(code, **environment).split()


TWO_THREADS = """
import os
import mlx_chatterbox
import mlx.core as mx
from mlx_chatterbox.nn import cpu_kernels
from mlx_chatterbox.runtime import parallel
mx.set_default_device(mx.cpu)
before, asked = dict(os.environ), []
measured = cpu_kernels._fast_enough
cpu_kernels._fast_enough = lambda place: asked.append(1) or measured(place)
first, other = parallel.run_two(*[lambda: mx.array(cpu_kernels.tuned())] * 2)
print(len(asked), first.item() == other.item(), dict(os.environ) == before)
"""


@linux
def test_kernels_are_arranged_once():
    """Two threads ask for them at once, as those of the conditioning do."""
    if parallel._blas() is None:
        pytest.skip("no CPU with OpenBLAS")
    assert report(TWO_THREADS) == ["1", "True", "True"]


@linux
def test_kernels_can_be_switched_off():
    assert report(TUNED, MLX_CHATTERBOX_KERNELS="plain") == ["False", "True"]


@linux
def test_a_missing_compiler_is_not_an_error():
    assert report(TUNED, PATH="/nowhere") == ["False", "True"]


@linux
def test_a_compiler_that_fails_is_not_an_error(tmp_path):
    compiler = tmp_path / "g++"
    compiler.write_text("#!/bin/sh\necho 12; test $# = 1\n")
    compiler.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}/usr/bin{os.pathsep}/bin"
    cache = tmp_path / "cache"
    assert report(TUNED, PATH=path, XDG_CACHE_HOME=str(cache)) == ["False", "True"]
    assert not list((cache / "mlx-chatterbox" / "kernels").glob("*/mlx"))


def test_one_measurement_serves_every_process(monkeypatch, tmp_path):
    """A second measurement could give the same seed other audio on a busy machine."""
    for now, later, fast in ((0.5, 9.0, True), (9.0, 0.5, False)):
        place = tmp_path / str(fast)
        place.mkdir()
        monkeypatch.setattr(cpu_kernels, "_exp_nanoseconds", lambda now=now: now)
        assert cpu_kernels._fast_enough(place) is fast
        monkeypatch.setattr(cpu_kernels, "_exp_nanoseconds", lambda later=later: later)
        assert cpu_kernels._fast_enough(place) is fast
        assert len(list(place.iterdir())) == 1


@pytest.mark.numbers
@pytest.mark.parametrize("name", ["gelu", "silu", "mish", "elu"])
def test_tuned_and_plain_kernels_agree(monkeypatch, rng, name):
    x = mx.array(rng.standard_normal((3, 50, 48)).astype(np.float32) * 8)
    function = getattr(activations, name)
    tuned = np.array(function(x))
    monkeypatch.setattr(activations, "tuned_for", lambda x: False)
    np.testing.assert_allclose(tuned, function(x), atol=2e-6)


@pytest.mark.numbers
def test_a_kernel_whose_result_takes_its_inputs_place(rng):
    """All kernels of a network do so, since nothing else holds their input."""
    x = mx.array(rng.standard_normal((2, 100, 48)).astype(np.float32))
    scale, shift = (mx.array(rng.standard_normal(48).astype(np.float32)) for _ in range(2))
    mx.eval(x)
    for function in (
        activations.gelu,
        lambda x: activations.snake(x, mx.abs(scale)),
        lambda x: activations.scaled_relu(x, scale, shift),
        lambda x: activations.scaled_relu(x, scale, shift, mx.roll(x, 1, axis=1)),
    ):
        np.testing.assert_array_equal(function(x + 0.0), function(x))


@linux
def test_loops_are_independent_for_the_compiler(tmp_path):
    """Otherwise a kernel whose result takes an input's place would run element by element."""
    assert report(TUNED, XDG_CACHE_HOME=str(tmp_path)) == ["True", "True"]
    (source,) = tmp_path.glob("mlx-chatterbox/kernels/*/mlx/kernels.cpp")
    kernels = source.read_text().split('extern "C"')[1:]
    assert len(kernels) > 10
    for kernel in kernels:
        assert kernel.count("ivdep") == kernel.count("for (") > 0


@pytest.mark.numbers
@pytest.mark.parametrize("frames", [40, 600])
def test_attention_by_columns_is_attention(rng, frames):
    """600 frames are two tiles."""
    q, k, v = (mx.array(rng.standard_normal((16, frames)).astype(np.float32)) for _ in range(3))

    def by_rows(*given: mx.array) -> mx.array:
        q, k, v = (a.reshape(1, 2, 8, frames).swapaxes(2, 3) for a in given)
        weights = mx.softmax(0.3 * q @ k.swapaxes(2, 3), axis=-1)
        return (weights @ v)[0].swapaxes(1, 2).reshape(16, frames)

    Rounding(by_rows, given=[q, k, v]).check(attention.attend_columns(q, [k], [v], 2, 0.3))


@pytest.mark.numbers
@pytest.mark.parametrize("pieces", [[], [35], [3], [64], [67]])
@pytest.mark.parametrize("compiled", [True, False], ids=["in C", "by MLX"])
def test_attention_by_columns_takes_more_keys_than_queries(rng, monkeypatch, compiled, pieces):
    """Keys come in two pieces, whatever a group of the compiled code ends in."""
    if not compiled:
        monkeypatch.setattr(native, "library", lambda: None)
    q, k, v = (mx.array(rng.standard_normal((16, n)).astype(np.float32)) for n in (30, 70, 70))
    parts = [mx.split(a, pieces, axis=1) for a in (k, v)]
    got = attention.attend_columns(q, *parts, 2, 0.3)
    assert got.shape == (16, 30)

    def of_the_first(q: mx.array, k: mx.array, v: mx.array) -> mx.array:
        return (mx.softmax(0.3 * q.T @ k, axis=-1) @ v.T).T

    Rounding(of_the_first, given=[q[:8], k[:8], v[:8]]).check(got[:8])


# Layers that are computed in C where it is available, and the shape of their input.
IN_C = {
    "convolution": lambda: (conv.Conv1d(20, 70, 3, padding=2), (2, 450, 20)),
    "dilated": lambda: (conv.Conv1d(20, 30, 3, padding=4, dilation=3, bias=False), (2, 90, 20)),
    "depthwise": lambda: (conv.Conv1d(70, 70, 7, padding=(1, 5), groups=70), (2, 45, 70)),
    "two dimensions": lambda: (Conv2d(5, 33, 3, 2, padding=1), (2, 9, 50, 5)),
    "lstm": lambda: (LSTM(6, 20, 2), (7, 9, 6)),
}


@pytest.fixture(params=IN_C)
def layer_in_c(request, rng):
    """(layer, input)"""
    layer, shape = IN_C[request.param]()
    layer.eval()
    return layer, mx.array(rng.standard_normal(shape).astype(np.float32))


@pytest.mark.numbers
def test_in_c_as_by_mlx(layer_in_c, monkeypatch):
    layer, x = layer_in_c
    calls = []
    real = native.call
    monkeypatch.setattr(native, "call", lambda *given: calls.append(given) or real(*given))
    in_c = layer(x)
    assert bool(calls) == native.takes(x)
    monkeypatch.setattr(native, "library", lambda: None)
    Rounding(layer, [layer], [x]).check(in_c)


@pytest.mark.numbers
def test_gradients_pass_what_is_computed_in_c(layer_in_c, monkeypatch):
    """Gradients work in evaluation mode too."""
    layer, x = layer_in_c

    def loss(x, weights):
        layer.update(weights)
        return mx.square(layer(x)).sum()

    weights = layer.trainable_parameters()
    found = tree_flatten(mx.grad(loss, argnums=(0, 1))(x, weights))
    monkeypatch.setattr(native, "library", lambda: None)
    expected = dict(tree_flatten(mx.grad(loss, argnums=(0, 1))(x, weights)))
    for name, got in found:
        assert mx.abs(expected[name]).max() > 1e-3
        np.testing.assert_allclose(got, expected[name], rtol=1e-4, atol=1e-4)


@pytest.mark.numbers
@pytest.mark.parametrize("lengths", [[70], [33, 37]])
def test_gradients_pass_attention_in_c(rng, monkeypatch, lengths):
    pieces = len(lengths)
    x = [mx.array(rng.standard_normal((16, n)).astype("f4")) for n in (30, *lengths, *lengths)]

    def loss(queries, *others):
        attended = attention.attend_columns(queries, others[:pieces], others[pieces:], 2, 0.3)
        return mx.square(attended).sum()

    every = tuple(range(len(x)))
    found = mx.grad(loss, argnums=every)(*x)
    monkeypatch.setattr(native, "library", lambda: None)
    for got, expected in zip(found, mx.grad(loss, argnums=every)(*x), strict=True):
        assert mx.abs(expected).max() > 1e-3
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.numbers
@pytest.mark.parametrize("rows", [7, 8, 11])
def test_many_rows_attend_as_each_alone(rng, rows):
    """Masks: none, one for all rows in four dimensions or two, and one for each row."""
    q, k, v = (mx.array(rng.standard_normal((rows, 2, n, 4)).astype("f4")) for n in (3, 9, 9))
    one = mx.where(mx.arange(9)[None] > 6 + mx.arange(3)[:, None], -1e9, 0.0)
    each = mx.array(rng.standard_normal((rows, 1, 1, 9)).astype("f4"))
    for bias in (None, one, one[None, None], each):
        together = attention.attend(q, k, v, 0.5, bias)
        for row in range(rows):
            own = bias[row : row + 1] if bias is each else bias
            alone = attention.attend(*(a[row : row + 1] for a in (q, k, v)), 0.5, own)
            np.testing.assert_allclose(together[row], alone[0], atol=1e-6)


@pytest.mark.numbers
def test_halves_of_a_row_are_the_row(rng, two_cores, monkeypatch):
    """The weights have not been evaluated yet."""
    blocks = [BasicTransformerBlock(12, 2, 4) for _ in range(3)]
    for block in blocks:
        block.eval()
    x = mx.array(rng.standard_normal((1, 301, 12)).astype(np.float32))
    calls = []
    monkeypatch.setattr(estimator, "run_two", lambda *w: calls.append(w) or parallel.run_two(*w))
    monkeypatch.setattr(estimator, "can_run_two", lambda: True)
    halves = estimator._transform(x, blocks, None)
    assert len(calls) == len(blocks) + 1
    monkeypatch.setattr(estimator, "can_run_two", lambda: False)
    Rounding(lambda: estimator._transform(x, blocks, None), blocks).check(halves)


@pytest.fixture
def two_cores():
    if not device.on_cpu() or parallel._blas() is None:
        pytest.skip("no CPU with OpenBLAS")


@pytest.mark.numbers
def test_two_at_once_are_the_two_alone(rng, two_cores):
    x = mx.array(rng.standard_normal((64, 64)).astype(np.float32))
    mx.eval(x)
    threads = parallel._blas().openblas_get_num_threads()
    one, other = parallel.run_two(lambda: activations.gelu(x @ x), lambda: (x.T @ x, x + 1))
    assert parallel._blas().openblas_get_num_threads() == threads
    np.testing.assert_allclose(one, activations.gelu(x @ x), atol=1e-6)
    np.testing.assert_allclose(other[0], x.T @ x, atol=1e-4)
    np.testing.assert_array_equal(other[1], x + 1)


@pytest.mark.parametrize("failing", [0, 1])
def test_an_error_in_either_is_raised_and_the_next_call_works(two_cores, failing):
    def fail():
        raise ValueError("no")

    work = [lambda: mx.zeros(1), lambda: mx.zeros(1)]
    work[failing] = fail
    threads = parallel._blas().openblas_get_num_threads()
    with pytest.raises(ValueError, match="no"):
        parallel.run_two(*work)
    assert parallel._blas().openblas_get_num_threads() == threads
    assert [a.item() for a in parallel.run_two(lambda: mx.zeros(1), lambda: mx.ones(1))] == [0, 1]


def test_what_runs_beside_another_does_not_split_again(two_cores):
    here = parallel.can_run_two()
    seen = []
    parallel.run_two(
        lambda: seen.append(parallel.can_run_two()) or mx.zeros(1),
        lambda: seen.append(parallel.can_run_two()) or mx.zeros(1),
    )
    assert seen == [False, False]
    assert parallel.can_run_two() == here


def test_a_kernel_is_registered_with_its_layouts():
    assert all(examples for _, examples in cpu_kernels._kernels)


ENDING = """
import mlx_chatterbox
import mlx.core as mx
from mlx_chatterbox.models.s3gen import estimator
from mlx_chatterbox.models.s3gen.estimator import BasicTransformerBlock
from mlx_chatterbox.nn import activations
from mlx_chatterbox.runtime import parallel
x = mx.ones((30, 30)); mx.eval(x)
parallel.run_two(lambda: activations.gelu(x @ x), lambda: activations.silu(x @ x))
"""


@linux
def test_a_process_with_a_second_stream_ends_as_others_do(two_cores):
    for _ in range(3):
        report(ENDING)
