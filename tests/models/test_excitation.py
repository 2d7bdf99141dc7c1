"""The vocoder's excitation: harmonics added up as a polynomial, noise drawn once a sample."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from mlx_chatterbox.models.s3gen import hift
from mlx_chatterbox.models.s3gen.config import HiFTNetConfig
from mlx_chatterbox.models.s3gen.source import SourceModuleHnNSF, _in_one_go, _step_by_step
from mlx_chatterbox.runtime import native
from tests.rounding import Rounding

pytestmark = pytest.mark.numbers

HOP = 480


@pytest.fixture(params=[8, 30])
def source(request, rng):
    module = SourceModuleHnNSF(HiFTNetConfig(nb_harmonics=request.param, sampling_rate=24000))
    harmonics = request.param + 1
    module.l_linear.weight = mx.array(rng.normal(size=(1, harmonics)) / harmonics, mx.float32)
    module.l_linear.bias = mx.array([0.02], mx.float32)
    return module


def summed_one_by_one(source, f0, phases, noise):
    """Upstream's formula in float64: every harmonic's sine and noise, then the projection."""
    harmonics = phases.shape[-1]
    held = np.repeat(np.array(f0, np.float64), HOP, axis=1)[..., None]
    cycles = np.cumsum(held / 24000 * np.arange(1, harmonics + 1), axis=1)
    sines = 0.1 * np.sin(2 * np.pi * cycles + np.array(phases, np.float64))
    voiced = held > source._voiced_threshold
    std = np.where(voiced, source._noise_std, 0.1 / 3)
    excited = np.where(voiced, sines, 0.0) + std * np.array(noise, np.float64)
    weight, bias = (np.array(source.l_linear[name], np.float64) for name in ("weight", "bias"))
    return np.tanh(excited @ weight[0] + bias)


def test_the_sum_is_that_of_all_harmonics(source, rng):
    f0 = mx.array(rng.uniform(80, 300, (2, 40)), mx.float32)
    f0[:, 10:20] = 0.0
    harmonics = source.l_linear.weight.shape[1]
    phases = source.draw_phases(2, mx.random.key(1))
    noise = mx.random.normal((2, 40 * HOP, harmonics), key=mx.random.key(2))
    found, _ = source.excite(f0, HOP, phases, source.merge_noise(noise))
    expected = summed_one_by_one(source, f0, phases, noise)
    assert np.abs(expected).max() > 0.02
    assert np.abs(np.array(found) - expected).max() < 2e-5


def test_in_one_go_is_step_by_step(rng):
    cycles = mx.array(rng.uniform(0, 1, (2, 4100)), mx.float32)
    reals, imags = (mx.array(rng.normal(size=(2, 1, 31)), mx.float32) for _ in range(2))
    if not native.takes(cycles):
        pytest.skip("no compiled code")
    expected = np.array(_step_by_step(cycles, reals, imags))
    assert np.abs(expected).max() > 10
    given, every = [cycles, reals, imags], (0, 1, 2)
    Rounding(_step_by_step, given=given).check(_in_one_go(*given))

    def loss(way):
        return lambda *given: way(*given).square().mean()

    for found, wanted in zip(
        mx.grad(loss(_in_one_go), every)(*given),
        mx.grad(loss(_step_by_step), every)(*given),
        strict=True,
    ):
        np.testing.assert_allclose(
            found, wanted, rtol=2e-3, atol=1e-3 * mx.abs(wanted).max().item()
        )


@pytest.mark.parametrize("bins", [9, 241])
def test_spectrum_in_one_go_is_by_steps(rng, bins):
    said = mx.array(rng.normal(size=(2, 30, 2 * bins)) * 4, mx.float32)
    said[0, 0, 0], said[0, 1, 1] = 100.0, -200.0
    if not native.takes(said):
        pytest.skip("no compiled code")
    expected = hift._spectrum_by_steps(said)
    assert max(mx.abs(part).max().item() for part in expected) > 50
    Rounding(hift._spectrum_by_steps, given=[said]).check(hift._spectrum(said, evaluate=True))

    def loss(spectrum):
        return lambda said: sum(part.square().sum() * 1e-4 for part in spectrum(said))

    found = mx.grad(loss(lambda said: hift._spectrum(said, evaluate=True)))(said)
    wanted = mx.grad(loss(hift._spectrum_by_steps))(said)
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4)


def test_noise_drawn_once_is_as_loud_as_every_harmonics(source):
    """Unvoiced frames hold only noise: its spread is that of the sum that upstream draws."""
    made = np.array(source(mx.zeros((1, 400)), HOP, mx.random.key(3)))
    weight = np.array(source.l_linear.weight)[0]
    spread = np.arctanh(made).std()
    assert spread == pytest.approx(0.1 / 3 * np.linalg.norm(weight), rel=0.01)
    harmonics = mx.random.normal((1, 400 * HOP, len(weight)), key=mx.random.key(4))
    assert np.array(source.merge_noise(harmonics)).std() == pytest.approx(1.0, rel=0.01)
