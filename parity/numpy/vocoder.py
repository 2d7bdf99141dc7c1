"""The vocoder in plain NumPy: pitch, excitation, generator, and the transform at either end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.signal import get_window

from .layers import (
    Weights,
    conv1d,
    conv_transpose1d,
    elu,
    leaky_relu,
    linear,
    snake,
)

SAMPLES_PER_FRAME = 480


def f0(w: Weights, mel: np.ndarray) -> np.ndarray:
    """Log-mel (T, 80) -> (T,) Hz."""
    w = w.at("f0_predictor")
    x = mel.T[None].astype(np.float64)
    for layer in range(0, 10, 2):
        x = elu(conv1d(w.at(f"condnet.{layer}"), x, padding=(1, 1)))
    return np.abs(linear(w.at("classifier"), x[0].T)[:, 0])


def excitation(
    w: Weights, pitch: np.ndarray, phases: np.ndarray, noise: np.ndarray, hift: Mapping[str, Any]
) -> np.ndarray:
    """Harmonics where voiced, noise where not, merged: (480 T,).

    Args:
        pitch: (T,) Hz, held over each frame.
        phases: (harmonics,) radians.
        noise: (480 T, harmonics) standard normal.
        hift: the vocoder's configuration.
    """
    held = np.repeat(pitch.astype(np.float64), SAMPLES_PER_FRAME)
    cycles = np.cumsum(held / hift["sampling_rate"])
    orders = np.arange(1, noise.shape[1] + 1)
    sines = hift["nsf_alpha"] * np.sin(2 * np.pi * (cycles[:, None] * orders) + phases)
    voiced = (held > hift["nsf_voiced_threshold"])[:, None]
    mixed = np.where(voiced, sines + hift["nsf_sigma"] * noise, hift["nsf_alpha"] / 3 * noise)
    return np.tanh(linear(w.at("m_source.l_linear"), mixed)[:, 0])


def stft(x: np.ndarray, n_fft: int, hop: int) -> np.ndarray:
    """(n,) -> (n_fft // 2 + 1, 1 + n // hop) complex: periodic Hann, mirrored ends."""
    padded = np.pad(x.astype(np.float64), n_fft // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[::hop]
    return np.fft.rfft(frames * get_window("hann", n_fft), axis=1).T


def istft(spectrum: np.ndarray, n_fft: int, hop: int) -> np.ndarray:
    """(n_fft // 2 + 1, F) complex -> (hop (F - 1),): the signal whose frames fit best.

    Windowed frames are added up and divided by the sum of the squared windows.
    """
    window = get_window("hann", n_fft)
    frames = np.fft.irfft(spectrum.T, n=n_fft, axis=1) * window
    signal = np.zeros((len(frames) - 1) * hop + n_fft)
    envelope = np.zeros_like(signal)
    for number, frame in enumerate(frames):
        signal[number * hop : number * hop + n_fft] += frame
        envelope[number * hop : number * hop + n_fft] += window**2
    inside = slice(n_fft // 2, len(signal) - n_fft // 2)
    return signal[inside] / envelope[inside]


def waveform(
    w: Weights, mel: np.ndarray, source: np.ndarray, hift: Mapping[str, Any]
) -> np.ndarray:
    """Log-mel (T, 80) and excitation (480 T,) -> (480 T,)."""
    n_fft, hop, slope = hift["istft_n_fft"], hift["istft_hop_len"], hift["lrelu_slope"]
    spectrum = stft(source, n_fft, hop)
    bins = np.concatenate([spectrum.real, spectrum.imag])[None]
    rates, kernels = hift["upsample_rates"], hift["upsample_kernel_sizes"]
    blocks = len(hift["resblock_kernel_sizes"])
    x = conv1d(w.at("conv_pre"), mel.T[None].astype(np.float64), padding=(3, 3))
    for stage, (rate, kernel) in enumerate(zip(rates, kernels, strict=True)):
        x = conv_transpose1d(w.at(f"ups.{stage}"), leaky_relu(x, slope), rate, (kernel - rate) // 2)
        if stage == len(rates) - 1:
            x = np.pad(x, [(0, 0), (0, 0), (1, 0)], mode="reflect")
        down = int(np.prod(rates[stage + 1 :]))
        fits = {"stride": down, "padding": (down // 2, down // 2)} if down > 1 else {}
        of_source = conv1d(w.at(f"source_downs.{stage}"), bins, **fits)
        dilations = hift["source_resblock_dilation_sizes"][stage]
        x = x + _res_block(w.at(f"source_resblocks.{stage}"), of_source, dilations)
        rows = enumerate(hift["resblock_dilation_sizes"], start=stage * blocks)
        x = sum(_res_block(w.at(f"resblocks.{i}"), x, each) for i, each in rows) / blocks
    # PyTorch's default slope: upstream names none here.
    x = conv1d(w.at("conv_post"), leaky_relu(x, 0.01), padding=(3, 3))[0]
    half = n_fft // 2 + 1
    magnitude, phase = np.minimum(np.exp(x[:half]), 1e2), np.sin(x[half:])
    signal = istft(magnitude * np.exp(1j * phase), n_fft, hop)
    return np.clip(signal, -hift["audio_limit"], hift["audio_limit"])


def _res_block(w: Weights, x: np.ndarray, dilations: list[int]) -> np.ndarray:
    """(1, C, T) to the same: Snake, dilated convolution, Snake, convolution, and the input."""
    for i, dilation in enumerate(dilations):
        first, second = w.at(f"convs1.{i}"), w.at(f"convs2.{i}")
        around = (first["weight"].shape[2] - 1) // 2
        hidden = snake(w.at(f"activations1.{i}"), x)
        hidden = conv1d(first, hidden, padding=(around * dilation,) * 2, dilation=dilation)
        hidden = snake(w.at(f"activations2.{i}"), hidden)
        x = x + conv1d(second, hidden, padding=(around, around))
    return x
