"""HiFT vocoder: mel to waveform through a neural source filter and a small inverse STFT.

Source: upstream `models/s3gen/hifigan.py`; https://arxiv.org/abs/2309.09493.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import cast

import mlx.core as mx
import mlx.nn as nn

from ...audio.stft import hann_window, istft, reflect_pad, stft
from ...nn.activations import snake
from ...nn.conv import Conv1d, ConvTranspose1d, stacked
from ...nn.gradients import with_gradient_of
from ...runtime import native
from ...runtime.parallel import can_run_two, run_two
from .config import HiFTNetConfig
from .f0_predictor import ConvRNNF0Predictor
from .source import SourceModuleHnNSF

MAX_MAGNITUDE = 1e2
# Far above its logarithm, and where exp is still finite: past that its gradient would be NaN.
_MAX_EXPONENT = 80.0
# Upstream calls leaky_relu without a slope before the last convolution, so PyTorch's default
# holds there and not the configured one.
LAST_LRELU_SLOPE = 0.01


def _spectrum(polar: mx.array, evaluate: bool) -> tuple[mx.array, mx.array]:
    """Logarithms of magnitudes, and x of the phases sin(x), to real and imaginary parts.

    Args:
        polar: (B, frames, 2 bins)
        evaluate: True where it may be evaluated at once, as code outside of MLX needs it.

    Returns:
        (B, frames, bins) each
    """
    if not evaluate or not native.takes(polar):
        return _spectrum_by_steps(polar)
    frames, bins = polar.shape[1], polar.shape[2] // 2

    @with_gradient_of(lambda polar: mx.stack(list(_spectrum_by_steps(polar)), axis=1))
    def spectra(polar: mx.array) -> mx.array:
        shape, limits = (2, frames, bins), (_MAX_EXPONENT, MAX_MAGNITUDE)
        shapes: list[tuple[int, ...]] = [(frames, 2 * bins)]
        return stacked(
            [native.call("spectrum", [row], shapes, shape, *shape[1:], *limits) for row in polar]
        )

    parts = spectra(polar)
    return parts[:, 0], parts[:, 1]


def _spectrum_by_steps(polar: mx.array) -> tuple[mx.array, mx.array]:
    """Compute `_spectrum` operation by operation."""
    logarithm, x = mx.split(polar, 2, axis=-1)
    magnitude = mx.minimum(mx.exp(mx.minimum(logarithm, _MAX_EXPONENT)), MAX_MAGNITUDE)
    phase = mx.sin(x)
    return magnitude * mx.cos(phase), magnitude * mx.sin(phase)


class Snake(nn.Module):
    """Periodic activation with a learned frequency for each channel."""

    def __init__(self, channels: int):
        super().__init__()
        self.alpha = mx.ones((channels,))

    def __call__(self, x: mx.array) -> mx.array:
        return snake(x, self.alpha)


class ResBlock(nn.Module):
    """Residual pairs of a dilated and a plain convolution, Snake in front of each."""

    def __init__(self, channels: int, kernel_size: int, dilations: list[int]):
        super().__init__()
        around = (kernel_size - 1) // 2
        self.convs1 = [
            Conv1d(channels, channels, kernel_size, padding=around * d, dilation=d)
            for d in dilations
        ]
        self.convs2 = [Conv1d(channels, channels, kernel_size, padding=around) for _ in dilations]
        self.activations1 = [Snake(channels) for _ in dilations]
        self.activations2 = [Snake(channels) for _ in dilations]

    def __call__(self, x: mx.array) -> mx.array:
        layers = zip(self.activations1, self.convs1, self.activations2, self.convs2, strict=True)
        for activation1, conv1, activation2, conv2 in layers:
            x = x + conv2(activation2(conv1(activation1(x))))
        return x


def _sum_of(blocks: list[ResBlock], x: mx.array) -> mx.array:
    """The blocks' results for x, (B, T, C), added up."""
    *smaller, largest = blocks
    # Work on two cores is evaluated there and then, which gradients do not allow.
    if not smaller or largest.training or not can_run_two():
        return _added(block(x) for block in blocks)
    # The largest kernel alone is as much work as the smaller ones together.
    mx.eval(x, [block.parameters() for block in blocks])
    return _added(run_two(lambda: largest(x), lambda: _added(block(x) for block in smaller)))


def _added(arrays: Iterable[mx.array]) -> mx.array:
    """The sum of at least one array."""
    return cast(mx.array, sum(arrays))


def _source_down(n_bins: int, channels: int, rate: int) -> Conv1d:
    """Brings the source's spectrum to the frame rate of an upsampling stage."""
    if rate == 1:
        return Conv1d(n_bins, channels, 1)
    return Conv1d(n_bins, channels, 2 * rate, stride=rate, padding=rate // 2)


class HiFTGenerator(nn.Module):
    """The vocoder."""

    def __init__(self, config: HiFTNetConfig):
        super().__init__()
        self.config = config
        rates, base, n_bins = config.upsample_rates, config.base_channels, config.istft_n_fft + 2
        widths = [base // 2 ** (stage + 1) for stage in range(len(rates))]
        self.m_source = SourceModuleHnNSF(config)
        self.conv_pre = Conv1d(config.in_channels, base, 7, padding=3)
        self.ups = [
            ConvTranspose1d(base // 2**stage, widths[stage], kernel, rate, (kernel - rate) // 2)
            for stage, (rate, kernel) in enumerate(
                zip(rates, config.upsample_kernel_sizes, strict=True)
            )
        ]
        self.source_downs, self.source_resblocks, self.resblocks = [], [], []
        for stage, width in enumerate(widths):
            later = math.prod(rates[stage + 1 :])
            self.source_downs.append(_source_down(n_bins, width, later))
            self.source_resblocks.append(
                ResBlock(
                    width,
                    config.source_resblock_kernel_sizes[stage],
                    config.source_resblock_dilation_sizes[stage],
                )
            )
            self.resblocks += [
                ResBlock(width, kernel, dilations)
                for kernel, dilations in zip(
                    config.resblock_kernel_sizes, config.resblock_dilation_sizes, strict=True
                )
            ]
        self.conv_post = Conv1d(widths[-1], n_bins, 7, padding=3)
        self.f0_predictor = ConvRNNF0Predictor(config)

    @property
    def samples_per_frame(self) -> int:
        """Waveform samples of one mel frame."""
        return math.prod(self.config.upsample_rates) * self.config.istft_hop_len

    def __call__(
        self, mel: mx.array, source: mx.array | None = None, key: mx.array | None = None
    ) -> tuple[mx.array, mx.array]:
        """Vocode.

        Args:
            mel: (B, T, 80) log-mel at 50 frames/s.
            source: (B, 480 T) the excitation; None makes it from the predicted F0.
            key: source of the excitation's random phases and noise.

        Returns:
            waveform (B, 480 T) within +-0.99, and the source that made it.
        """
        if source is None:
            key = mx.random.key(0) if key is None else key
            source = self.m_source(self.f0_predictor(mel), self.samples_per_frame, key)
        return self.decode(mel, source), source

    def decode(self, mel: mx.array, source: mx.array) -> mx.array:
        """mel (B, T, 80) and source (B, 480 T) to waveform (B, 480 T)."""
        config = self.config
        window = hann_window(config.istft_n_fft)
        spectrum = stft(source.astype(mx.float32), config.istft_n_fft, config.istft_hop_len, window)
        source_bins = mx.concatenate(list(spectrum), axis=-1).astype(mel.dtype)

        kernels = len(config.resblock_kernel_sizes)
        sources = self._at_each_stage(source_bins)
        x = self.conv_pre(mel)
        for stage, up in enumerate(self.ups):
            x = up(nn.leaky_relu(x, config.lrelu_slope))
            if stage == len(self.ups) - 1:
                # One frame more, as the centred STFT of the source has.
                x = reflect_pad(x, 1, 0, axis=1)
            x = x + sources[stage]
            x = _sum_of(self.resblocks[stage * kernels : (stage + 1) * kernels], x) / kernels
        x = self.conv_post(nn.leaky_relu(x, LAST_LRELU_SLOPE)).astype(mx.float32)

        real, imag = _spectrum(x, evaluate=not self.training)
        if config.filter_source:
            of_real, of_imag = spectrum
            real, imag = real * of_real - imag * of_imag, real * of_imag + imag * of_real
        waveform = istft(
            real,
            imag,
            config.istft_n_fft,
            config.istft_hop_len,
            window,
        )
        return mx.clip(waveform, -config.audio_limit, config.audio_limit)

    def _at_each_stage(self, source_bins: mx.array) -> tuple[mx.array, ...]:
        """The source's spectrum (B, F, 18) as each upsampling stage adds it."""

        def between(first: int, end: int) -> tuple[mx.array, ...]:
            stages = range(first, end)
            return tuple(
                self.source_resblocks[i](self.source_downs[i](source_bins)) for i in stages
            )

        count = len(self.ups)
        if count < 2 or self.training or not can_run_two():
            return between(0, count)
        # The last stage, at the highest rate, is as much work as those before it.
        mx.eval(source_bins, self.source_downs, self.source_resblocks)
        earlier, last = run_two(lambda: between(0, count - 1), lambda: between(count - 1, count))
        return earlier + last
