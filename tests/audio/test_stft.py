"""The transform inverts itself, equals its definition, and equals torch's."""

import mlx.core as mx
import numpy as np
import pytest

from mlx_chatterbox.audio.stft import (
    frame,
    hann_window,
    istft,
    overlap_add,
    reflect_pad,
    stft,
)
from mlx_chatterbox.errors import AudioError

pytestmark = pytest.mark.numbers

SIZES = [(16, 4), (64, 16), (400, 160), (400, 150), (1920, 480)]


def noise(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def relative_rms(got, expected):
    got, expected = np.asarray(got, np.float64), np.asarray(expected, np.float64)
    assert got.shape == expected.shape
    return np.sqrt(np.mean((got - expected) ** 2) / np.mean(expected**2))


def test_the_window_is_periodic():
    window = np.array(hann_window(400))
    assert window[0] == 0
    assert window[200] == 1
    assert np.allclose(window[1:], window[1:][::-1])
    shifted = sum(np.roll(window, k * 100) for k in range(4))
    assert np.allclose(shifted, 2.0, atol=1e-6)  # no symmetric window adds up to a constant


@pytest.mark.parametrize(("n_fft", "hop"), SIZES)
@pytest.mark.parametrize("batch", [(), (2,), (2, 3)])
def test_istft_inverts_stft(n_fft, hop, batch):
    x = noise(*batch, 20 * hop)
    window = hann_window(n_fft)
    real, imag = stft(mx.array(x), n_fft, hop, window)
    assert real.shape == imag.shape == (*batch, 21, n_fft // 2 + 1)
    assert relative_rms(istft(real, imag, n_fft, hop, window), x) < 1e-6


@pytest.mark.parametrize(("n_fft", "hop"), SIZES)
@pytest.mark.parametrize("center", [True, False])
def test_stft_equals_its_definition(n_fft, hop, center):
    x = noise(12 * n_fft + 5)
    real, imag = stft(mx.array(x), n_fft, hop, hann_window(n_fft), center=center)
    padded = np.pad(x.astype(np.float64), n_fft // 2 if center else 0, mode="reflect")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)
    starts = range(0, len(padded) - n_fft + 1, hop)
    expected = np.stack([np.fft.rfft(padded[s : s + n_fft] * window) for s in starts])
    assert relative_rms(real, expected.real) < 1e-6
    assert relative_rms(imag, expected.imag) < 1e-6


@pytest.mark.parametrize(("n", "hop"), [(16, 4), (8, 8), (8, 3), (7, 2), (5, 1), (4, 6)])
@pytest.mark.parametrize("batch", [(), (3,)])
def test_overlap_add_equals_a_loop(n, hop, batch):
    frames = noise(*batch, 9, n)
    expected = np.zeros((*batch, 8 * hop + n))
    for i in range(9):
        expected[..., i * hop : i * hop + n] += frames[..., i, :]
    assert np.allclose(overlap_add(mx.array(frames), hop), expected, atol=1e-6)


@pytest.mark.parametrize(("left", "right"), [(0, 0), (3, 0), (0, 2), (4, 4), (11, 13)])
@pytest.mark.parametrize("n", [1, 2, 5])
def test_reflect_pad_equals_numpy(left, right, n):
    x = noise(2, n)
    got = reflect_pad(mx.array(x), left, right)
    assert np.array_equal(got, np.pad(x, [(0, 0), (left, right)], mode="reflect"))
    got = reflect_pad(mx.array(x.T), left, right, axis=0)
    assert np.array_equal(got, np.pad(x.T, [(left, right), (0, 0)], mode="reflect"))


def test_padding_nothing_is_an_error():
    with pytest.raises(AudioError, match="no samples"):
        reflect_pad(mx.zeros((0,)), 3, 3)


def test_too_short_a_signal_has_no_frames():
    assert frame(mx.zeros((2, 9)), 10, 5).shape == (2, 0, 10)
    assert frame(mx.zeros((2, 10)), 10, 5).shape == (2, 1, 10)


@pytest.mark.reference
@pytest.mark.parametrize(("n_fft", "hop"), SIZES)
def test_both_directions_equal_torch(n_fft, hop):
    import torch

    x = noise(2, 30 * n_fft + 7)
    window = torch.hann_window(n_fft)
    theirs = torch.stft(torch.from_numpy(x), n_fft, hop, window=window, return_complex=True)
    ours = stft(mx.array(x), n_fft, hop, hann_window(n_fft))
    assert relative_rms(ours[0], theirs.real.mT) < 1e-6
    assert relative_rms(ours[1], theirs.imag.mT) < 1e-6

    # A spectrum that no signal has, so that the least-squares division matters.
    theirs = theirs * torch.exp(1j * torch.linspace(0, 50, theirs.shape[-1]))
    back = torch.istft(theirs, n_fft, hop, window=window).numpy()
    real, imag = (mx.array(part.mT.contiguous().numpy()) for part in (theirs.real, theirs.imag))
    assert relative_rms(istft(real, imag, n_fft, hop, hann_window(n_fft)), back) < 1e-6
