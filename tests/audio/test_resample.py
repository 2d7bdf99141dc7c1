"""Resampling keeps what is below both Nyquist frequencies, and equals librosa and torchaudio."""

import math

import mlx.core as mx
import numpy as np
import pytest

from mlx_chatterbox.audio import resample
from mlx_chatterbox.audio.resample import resample_sinc, resample_soxr

pytestmark = pytest.mark.numbers

RATES = [(24_000, 16_000), (44_100, 24_000), (48_000, 16_000), (16_000, 24_000), (22_050, 24_000)]


def noise(*shape):
    return np.random.default_rng(0).normal(scale=0.1, size=shape).astype(np.float32)


def sine(rate, hz=1000.0, seconds=0.5):
    return np.sin(2 * np.pi * hz * np.arange(int(rate * seconds)) / rate).astype(np.float32)


@pytest.mark.parametrize(("orig", "target"), RATES)
def test_soxr_keeps_a_sine_and_its_length(orig, target):
    got = resample_soxr(sine(orig), orig, target)
    assert got.dtype == np.float32
    # 22050 * (24000 / 44100) is 12000 and a rounding error, so librosa makes it 12001.
    assert got.shape == (math.ceil(len(sine(orig)) * (target / orig)),)
    inner = slice(1000, len(sine(target)) - 1000)
    assert np.abs(got[inner] - sine(target)[inner]).max() < 1e-4


@pytest.mark.parametrize(("orig", "target"), [*RATES, (4001, 3000)])
def test_sinc_keeps_a_sine_and_its_length(orig, target):
    hz = min(orig, target) / 10
    got = np.array(resample_sinc(mx.array(sine(orig, hz)), orig, target))
    assert got.shape == (math.ceil(len(sine(orig)) * target / orig),)
    inner = slice(100, -100)
    # A short filter: its ripple in the passband is part of what torchaudio does.
    assert np.abs(got - sine(target, hz, len(got) / target)[: len(got)])[inner].max() < 6e-3


@pytest.mark.parametrize("function", [resample_soxr, resample_sinc])
def test_what_the_lower_rate_cannot_carry_is_removed(function):
    high = sine(24_000, hz=10_000)
    got = np.asarray(
        function(mx.array(high) if function is resample_sinc else high, 24_000, 16_000)
    )
    assert np.abs(got[200:-200]).max() < 0.01


@pytest.mark.parametrize("n", [1, 2, 3, 1000, 1001, 1002, 44_101])
def test_lengths_round_up(n):
    for orig, target in RATES:
        soxr, sinc = math.ceil(n * (target / orig)), math.ceil(n * target / orig)
        assert resample_soxr(noise(n), orig, target).shape == (soxr,)
        assert resample_sinc(mx.array(noise(n)), orig, target).shape == (sinc,)


def test_equal_rates_change_nothing():
    assert np.array_equal(resample_soxr(noise(50), 16_000, 16_000), noise(50))
    assert np.array_equal(resample_sinc(mx.array(noise(50)), 16_000, 16_000), noise(50))


def test_a_batch_is_resampled_row_by_row():
    batch = noise(2, 3, 900)
    got = np.array(resample_sinc(mx.array(batch), 24_000, 16_000))
    for i in np.ndindex(2, 3):
        alone = resample_sinc(mx.array(batch[i]), 24_000, 16_000)
        assert np.allclose(got[i], alone, atol=1e-7)


@pytest.mark.parametrize(("orig", "target"), [*RATES, (44_100, 16_000), (147, 16)])
def test_gathered_phases_equal_the_matrix(monkeypatch, orig, target):
    x = mx.array(noise(2, 5003))
    matrix = resample_sinc(x, orig, target)
    monkeypatch.setattr(resample, "_DENSE_WEIGHTS", 0)
    assert np.allclose(resample_sinc(x, orig, target), matrix, atol=1e-6)


@pytest.mark.reference
@pytest.mark.parametrize(("orig", "target"), [*RATES, (4001, 3000)])
@pytest.mark.parametrize("n", [5003, 240_001])
def test_sinc_equals_torchaudio(orig, target, n):
    from mlx_chatterbox.parity.torch.env import prepare

    prepare()
    import torch
    import torchaudio

    x = noise(2, n)
    theirs = torchaudio.transforms.Resample(orig, target)(torch.from_numpy(x)).numpy()
    ours = np.array(resample_sinc(mx.array(x), orig, target))
    assert ours.shape == theirs.shape
    assert np.sqrt(np.mean((ours - theirs) ** 2) / np.mean(theirs**2)) < 1e-6


@pytest.mark.reference
@pytest.mark.parametrize(("orig", "target"), [*RATES, (44_100, 16_000)])
@pytest.mark.parametrize("n", [1, 5003, 240_001])
def test_soxr_equals_librosa_bit_for_bit(orig, target, n):
    import librosa

    theirs = librosa.resample(noise(n), orig_sr=orig, target_sr=target)
    assert np.array_equal(resample_soxr(noise(n), orig, target), theirs)
