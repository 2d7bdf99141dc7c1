"""Quantised layers and half precision on the CPU: the same numbers, by supported products."""

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from mlx_chatterbox.nn import attention, conv, quantized_linear
from mlx_chatterbox.nn.conv2d import Conv2d
from mlx_chatterbox.runtime import device

pytestmark = pytest.mark.numbers

HALVES = [mx.float16, mx.bfloat16]
ROUNDING = {mx.float32: 1e-5, mx.float16: 2e-3, mx.bfloat16: 2e-2}


@pytest.fixture
def layer():
    linear = nn.Linear(128, 48)
    linear.bias = mx.random.normal((48,), key=mx.random.key(2))
    return linear


@pytest.mark.parametrize("rows", [1, 40])
@pytest.mark.parametrize("bits", [3, 4, 6, 8])
@pytest.mark.parametrize("dtype", [mx.float32, *HALVES])
def test_a_quantised_layer_multiplies_by_what_its_bits_say(layer, monkeypatch, dtype, bits, rows):
    packed = layer.to_quantized(group_size=64, bits=bits)
    packed.set_dtype(dtype)
    quantized_linear.install_cpu_kernels(nn.Sequential(packed))
    weight = mx.dequantize(
        packed.weight, *(a.astype(mx.float32) for a in (packed.scales, packed.biases)), 64, bits
    )
    x = mx.random.normal((2, rows, 128), key=mx.random.key(3)).astype(dtype)
    expected = x.astype(mx.float32) @ weight.T + packed.bias.astype(mx.float32)
    seen = []
    plain = mx.quantized_matmul
    monkeypatch.setattr(
        mx, "quantized_matmul", lambda x, *a, **k: seen.append(x.dtype) or plain(x, *a, **k)
    )
    got = packed(x)
    assert got.dtype == dtype
    difference = np.abs(np.array(got.astype(mx.float32)) - np.array(expected))
    if not device.on_cpu():
        # MLX's own product may add up in half precision: each sum is then rounded as often as it
        # has terms, in either direction (Higham and Mary 2019, SIAM J. Sci. Comput. 41).
        terms = np.array(mx.abs(x.astype(mx.float32)) @ mx.abs(weight).T)
        unit = mx.finfo(dtype).eps
        assert (difference <= unit * (np.sqrt(x.shape[-1]) * terms + 1)).all()
    else:  # which would take minutes for a sentence
        assert difference.max() < ROUNDING[dtype] * np.abs(np.array(expected)).max()
        assert seen == ([mx.float32] if rows == 1 else [])


def test_gradients_pass_a_quantised_layer(layer):
    packed = layer.to_quantized(group_size=64, bits=8)
    quantized_linear.install_cpu_kernels(nn.Sequential(packed))
    x = mx.random.normal((40, 128), key=mx.random.key(3))
    weight = mx.dequantize(packed.weight, packed.scales, packed.biases, 64, 8)
    got = mx.grad(lambda x: mx.square(packed(x)).sum())(x)
    expected = mx.grad(lambda x: mx.square(x @ weight.T + packed.bias).sum())(x)
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("dtype", HALVES)
def test_half_precision_is_rounded_once(dtype):
    """Convolutions and attention in half precision are float32's result, rounded."""
    draw = iter(mx.random.split(mx.random.key(0), 11))

    def half(*shape):
        return mx.random.normal(shape, key=next(draw)).astype(dtype)

    def check(function, *arrays):
        got = function(*arrays)
        assert got.dtype == dtype
        full = function(*(array.astype(mx.float32) for array in arrays))
        if device.on_cpu():
            assert mx.array_equal(got, full.astype(dtype))

    check(lambda x, w: conv.conv1d(x, w, 1, (2, 0), 2), half(2, 30, 20), half(24, 3, 20))
    check(lambda x, w: conv.conv1d(x, w, groups=20), half(2, 30, 20), half(20, 3, 1))
    check(lambda x, w: conv.conv_transpose1d(x, w, 3, 1), half(2, 9, 8), half(5, 7, 8))
    layer = Conv2d(3, 5, 3, stride=2, padding=1)
    layer.eval()

    def two_dimensional(x, weight):
        layer.weight = weight
        return layer(x)

    check(two_dimensional, half(1, 8, 9, 3), half(5, 3, 3, 3))
    check(lambda *a: attention.attend(*a, 0.3), *(half(1, 2, 9, 8) for _ in range(3)))


def test_half_means_both_alike():
    half, full = mx.zeros(2, mx.float16), mx.zeros(2)
    assert device.is_half(half, half)
    assert not device.is_half(half, full)
    assert not device.is_half(half, half.astype(mx.bfloat16))
    assert not device.is_half(full, full)
