"""PerTh's two networks, on the normalised spectrogram below 2 kHz.

Source: `perth_net_implicit/model` of resemble-perth 1.0.1. Both see a stack of convolutions that
reaches 15 frames to each side; `CONTEXT` frames around a piece make it exact.
"""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn

from ..nn.conv import Conv1d

HIDDEN = 256
KERNEL = 7
WIDE_LAYERS = 5
#: Frames that one output frame depends on, to each side.
CONTEXT = WIDE_LAYERS * (KERNEL // 2)
LEAKY_SLOPE = 0.01


class Layer(nn.Module):
    """A convolution without padding: the caller supplies the frames around, or zeros."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int = 1):
        super().__init__()
        self.conv = Conv1d(in_channels, out_channels, kernel)

    def __call__(self, x: mx.array) -> mx.array:
        return self.conv(x)


def _stack(bins: int, outputs: int) -> list[Layer]:
    wide = [Layer(HIDDEN, HIDDEN, KERNEL) for _ in range(WIDE_LAYERS)]
    return [Layer(bins, HIDDEN), *wide, Layer(HIDDEN, outputs)]


def run_stack(layers: list[Layer], x: mx.array, before: int, after: int) -> mx.array:
    """Run the layers over a piece of a spectrogram.

    Args:
        x: (T, bins), the piece and `CONTEXT` frames to each side; at an end of the recording,
            where there are none, fewer.
        before, after: the number of `CONTEXT` frames that are missing on either side. The networks
            were trained with zeros around every layer's input, not around the first one's alone,
            so what lies outside the recording is set to zero for each layer.

    Returns:
        (T + before + after - 2 * CONTEXT, outputs)
    """
    x = x[None]
    half = KERNEL // 2
    for layer in layers:
        kernel = layer.conv.weight.shape[1]
        if kernel > 1:
            left, right = min(half, before), min(half, after)
            before, after = before - left, after - right
            x = mx.pad(x, [(0, 0), (left, right), (0, 0)])
        x = layer(x)
        if layer is not layers[-1]:
            x = mx.maximum(x, LEAKY_SLOPE * x)
    return x[0]


class PerthEncoder(nn.Module):
    """Computes the mark, to be added to the spectrogram."""

    def __init__(self, bins: int):
        super().__init__()
        self.layers = _stack(bins, bins)


class PerthDecoder(nn.Module):
    """Finds the mark by three readers: for speech slowed down, unchanged, and sped up.

    Every reader gives each frame an answer and a confidence; means over the frames that are not
    silent, then a mean of the three weighted by the softmax of their confidence.
    """

    def __init__(self, bins: int):
        super().__init__()
        self.slow_layers = _stack(bins, 2)
        self.normal_layers = _stack(bins, 2)
        self.fast_layers = _stack(bins, 2)


class PerthNet(nn.Module):
    """Both networks, under the names in the weights' file."""

    def __init__(self, bins: int):
        super().__init__()
        self.encoder = PerthEncoder(bins)
        self.decoder = PerthDecoder(bins)
