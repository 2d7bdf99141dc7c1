"""Convolutions, activations and attention against plain NumPy."""

from __future__ import annotations

import math
import os

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from scipy.special import erf

from mlx_chatterbox.nn import activations, attention, conv
from mlx_chatterbox.nn.conv2d import Conv2d
from mlx_chatterbox.nn.norm import batch_norm_relu
from mlx_chatterbox.runtime import device
from tests.rounding import Rounding
from tests.runtime.processes import printed

pytestmark = pytest.mark.numbers


def naive_conv1d(x, weight, stride, padding, dilation, groups):
    x = np.pad(x, [(0, 0), padding, (0, 0)])
    out_channels, kernel, per_group = weight.shape
    frames = (x.shape[1] - dilation * (kernel - 1) - 1) // stride + 1
    out = np.zeros((x.shape[0], frames, out_channels))
    for frame in range(frames):
        for channel in range(out_channels):
            first = channel // (out_channels // groups) * per_group
            for tap in range(kernel):
                at = frame * stride + tap * dilation
                inputs = x[:, at, first : first + per_group]
                out[:, frame, channel] += inputs @ weight[channel, tap]
    return out


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation"),
    [(1, 1, (0, 0), 1), (3, 1, (2, 0), 1), (3, 2, (1, 1), 1), (7, 1, (9, 9), 3), (6, 3, (1, 1), 1)],
)
def test_conv1d_equals_its_definition(rng, kernel, stride, padding, dilation):
    x, weight = rng.standard_normal((2, 20, 4)), rng.standard_normal((6, kernel, 4))
    expected = naive_conv1d(x, weight, stride, padding, dilation, 1)
    got = conv.conv1d(mx.array(x), mx.array(weight), stride, padding, dilation)
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_depthwise_conv1d_equals_its_definition(rng):
    x, weight = rng.standard_normal((2, 20, 5)), rng.standard_normal((5, 7, 1))
    expected = naive_conv1d(x, weight, 1, (3, 3), 1, 5)
    got = conv.conv1d(mx.array(x), mx.array(weight), 1, (3, 3), groups=5)
    np.testing.assert_allclose(got, expected, atol=1e-5)


@pytest.mark.parametrize(("kernel", "stride"), [(16, 8), (11, 5), (7, 3), (3, 4)])
def test_transposed_conv1d_equals_its_definition(rng, kernel, stride):
    padding = max((kernel - stride) // 2, 0)
    x, weight = rng.standard_normal((2, 9, 4)), rng.standard_normal((3, kernel, 4))
    full = np.zeros((2, 8 * stride + kernel, 3))
    for frame in range(9):
        for tap in range(kernel):
            full[:, frame * stride + tap] += x[:, frame] @ weight[:, tap].T
    expected = full[:, padding : full.shape[1] - padding]
    got = conv.conv_transpose1d(mx.array(x), mx.array(weight), stride, padding)
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, atol=1e-5)


GRID = np.concatenate([np.linspace(-12, 12, 4001), [-200.0, -90.0, 90.0, 200.0]])
REFERENCES = {
    "gelu": lambda x: x * 0.5 * (1 + erf(x / math.sqrt(2))),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "mish": lambda x: x * np.tanh(np.logaddexp(0, x)),
    "elu": lambda x: np.where(x > 0, x, np.expm1(x)),
}


@pytest.mark.parametrize("name", REFERENCES)
@pytest.mark.parametrize("fused", [True, False])
def test_activations(name, fused, monkeypatch):
    """Bound 2e-6: the exponential's absolute error, about 1e-7, times arguments of up to 12."""
    monkeypatch.setattr(device, "can_compile_on_cpu", lambda: fused)
    got = np.array(getattr(activations, name)(mx.array(GRID.astype(np.float32))))
    expected = REFERENCES[name](GRID.astype(np.float32).astype(np.float64))
    np.testing.assert_allclose(got, expected, atol=2e-6, rtol=1e-6)


@pytest.mark.parametrize("fused", [True, False])
def test_snake(fused, monkeypatch):
    monkeypatch.setattr(device, "can_compile_on_cpu", lambda: fused)
    x = np.stack([GRID, GRID]).astype(np.float32)[..., None].repeat(3, axis=-1)
    alpha = np.array([0.5, 1.0, 2.5], dtype=np.float32)
    got = np.array(activations.snake(mx.array(x), mx.array(alpha)))
    wide = x.astype(np.float64)
    np.testing.assert_allclose(got, wide + np.sin(wide * alpha) ** 2 / alpha, atol=2e-5)


@pytest.mark.parametrize("length", [11, 260])
@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_attention_with_and_without_bias(rng, scale, length):
    """Short and long sequences take different paths; a bias for each row, and one for all."""
    shape = (2, 3, length, 8)
    q, k, v = (rng.standard_normal(shape).astype(np.float32) * scale for _ in range(3))
    padded = np.zeros((2, 1, 1, length), dtype=np.float32)
    padded[1, ..., 7:] = -1e9
    causal = np.triu(np.full((length, length), -1e9, dtype=np.float32), 1)
    for given in (None, padded, causal):
        scores = q.astype(np.float64) @ k.swapaxes(-1, -2) * 0.3
        # Error of the weights by rounding the scores to float32.
        rounding = 4 * np.finfo(np.float32).eps * np.abs(scores).max()
        scores = scores if given is None else scores + given
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        expected = weights / weights.sum(axis=-1, keepdims=True) @ v
        arrays = [mx.array(a) for a in (q, k, v)]
        got = attention.attend(*arrays, 0.3, None if given is None else mx.array(given))
        np.testing.assert_allclose(got, expected, atol=scale * (1e-5 + rounding))


def test_half_precision_takes_no_polynomial(monkeypatch):
    """The polynomials' squarings would lose the low digits in float16."""
    monkeypatch.setattr(activations, "_gelu_polynomial", None)
    x = mx.array(GRID[:50].astype(np.float16))
    assert activations.gelu(x).dtype == mx.float16


@pytest.mark.parametrize(
    ("compiler", "works"), [("exit 0", True), ("echo install me; exit 1", False), (None, False)]
)
def test_a_compiler_that_does_not_run_is_not_used(tmp_path, monkeypatch, compiler, works):
    """A Mac without the Command Line Tools has a stub; MLX's own layers then serve a CPU."""
    if compiler is not None:
        (tmp_path / "g++").write_text(f"#!/bin/sh\n{compiler}\n")
        (tmp_path / "g++").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert device.can_compile_on_cpu.__wrapped__() == works


def test_without_a_compiler_a_cpu_computes_all_the_same(tmp_path):
    """A process of its own, with a Mac's stub of a compiler, which compiles nothing."""
    (tmp_path / "g++").write_text("#!/bin/sh\necho install the tools\nexit 1\n")
    (tmp_path / "g++").chmod(0o755)
    code = """
import mlx_chatterbox
import mlx.core as mx
from mlx_chatterbox.nn import activations, cpu_kernels
x = mx.ones((1, 4, 4))
for value in (activations.gelu(x), activations.silu(x), activations.snake(x, mx.ones(4))):
    mx.eval(value)
print(cpu_kernels.tuned())
"""
    environment = {"XDG_CACHE_HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    assert printed(code, PATH=path, MLX_CHATTERBOX_KERNELS="plain", **environment) == "False"


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("shape", [(2, 9, 6), (2, 5, 7, 6)])
def test_folded_batch_norm_is_batch_norm(rng, shape, affine):
    norm = nn.BatchNorm(6, affine=affine)
    norm.update({"running_mean": mx.array(rng.standard_normal(6)).astype(mx.float32)})
    norm.update({"running_var": mx.array(rng.uniform(0.5, 2.0, 6)).astype(mx.float32)})
    if affine:
        norm.update({"weight": mx.arange(6) - 2.0, "bias": mx.array([0.1, -0.2, 0, 1, 2, 3.0])})
    x, residual = (mx.array(rng.standard_normal(shape).astype(np.float32)) for _ in range(2))
    for training in (False, True):
        for more in (None, residual):
            norm.train(training)

            def expected(x: mx.array, more: mx.array | None = more) -> mx.array:
                return nn.relu(norm(x) if more is None else norm(x) + more)

            Rounding(expected, given=[x]).check(batch_norm_relu(norm, x, more))


@pytest.mark.parametrize(
    ("channels", "kernel", "stride", "padding", "length"),
    [(1, 3, 1, 1, 9), (5, 3, 2, 1, 9), (5, 1, 2, 0, 9), (32, 3, 1, 1, 1200), (5, 3, 1, 0, 4)],
)
def test_two_dimensional_convolution(rng, channels, kernel, stride, padding, length):
    layer = Conv2d(channels, 6, kernel, stride, padding=padding)
    x = mx.array(rng.standard_normal((2, 8, length, channels)).astype(np.float32))
    with mx.stream(mx.cpu):
        expected = mx.conv2d(x, layer.weight, (stride, 1), padding)
        np.testing.assert_allclose(layer(x), expected, atol=1e-5)
