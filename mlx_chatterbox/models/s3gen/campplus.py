"""CAM++: the speaker embedding that conditions S3Gen.

Source: upstream `models/s3gen/xvector.py` (after 3D-Speaker), https://arxiv.org/abs/2303.00332.
"""

from __future__ import annotations

import math

import mlx.core as mx
import mlx.nn as nn

from ...nn.conv import Conv1d
from ...nn.conv2d import Conv2d
from ...nn.norm import batch_norm_relu
from .config import CAMPPlusConfig


class NormReLU(nn.Module):
    """Batch norm and ReLU, with upstream's parameter name for the norm."""

    def __init__(self, channels: int):
        super().__init__()
        self.batchnorm = nn.BatchNorm(channels)

    def __call__(self, x: mx.array) -> mx.array:
        return batch_norm_relu(self.batchnorm, x)


class BasicResBlock(nn.Module):
    """Residual block over (B, F, T, C); the stride is along frequency."""

    def __init__(self, in_channels: int, channels: int, stride: int):
        super().__init__()
        self.conv1 = Conv2d(in_channels, channels, 3, stride, padding=1)
        self.bn1 = nn.BatchNorm(channels)
        self.conv2 = Conv2d(channels, channels, 3, padding=1)
        self.bn2 = nn.BatchNorm(channels)
        self.shortcut = []
        if stride != 1 or in_channels != channels:
            self.shortcut = [
                Conv2d(in_channels, channels, 1, stride),
                nn.BatchNorm(channels),
            ]

    def __call__(self, x: mx.array) -> mx.array:
        residual = x
        for layer in self.shortcut:
            residual = layer(residual)
        hidden = batch_norm_relu(self.bn1, self.conv1(x))
        return batch_norm_relu(self.bn2, self.conv2(hidden), residual)


class FCM(nn.Module):
    """Front-end convolutions over time and frequency, reducing the frequencies by eight."""

    def __init__(self, config: CAMPPlusConfig):
        super().__init__()
        channels = config.head_channels
        self.conv1 = Conv2d(1, channels, 3, padding=1)
        self.bn1 = nn.BatchNorm(channels)
        self.layer1 = [BasicResBlock(channels, channels, stride) for stride in (2, 1)]
        self.layer2 = [BasicResBlock(channels, channels, stride) for stride in (2, 1)]
        self.conv2 = Conv2d(channels, channels, 3, 2, padding=1)
        self.bn2 = nn.BatchNorm(channels)

    def __call__(self, x: mx.array) -> mx.array:
        """(B, T, F) to (B, T, C * F / 8), channels before frequencies, as the next layer wants."""
        x = x.swapaxes(1, 2)[..., None]
        x = batch_norm_relu(self.bn1, self.conv1(x))
        for block in (*self.layer1, *self.layer2):
            x = block(x)
        x = batch_norm_relu(self.bn2, self.conv2(x))
        batch, frequencies, frames, channels = x.shape
        return x.transpose(0, 2, 3, 1).reshape(batch, frames, channels * frequencies)


class TDNNLayer(nn.Module):
    """Convolution, batch norm, ReLU."""

    def __init__(self, in_channels: int, channels: int, kernel_size: int, stride: int):
        super().__init__()
        padding = (kernel_size - 1) // 2
        self.linear = Conv1d(
            in_channels, channels, kernel_size, stride=stride, padding=padding, bias=False
        )
        self.nonlinear = NormReLU(channels)

    def __call__(self, x: mx.array) -> mx.array:
        return self.nonlinear(self.linear(x))


class CAMLayer(nn.Module):
    """Context-aware masking: a local convolution, gated by the utterance's and segment's means."""

    def __init__(
        self, in_channels: int, channels: int, kernel_size: int, dilation: int, segment: int
    ):
        super().__init__()
        self._segment = segment
        padding = (kernel_size - 1) // 2 * dilation
        self.linear_local = Conv1d(
            in_channels, channels, kernel_size, padding=padding, dilation=dilation, bias=False
        )
        self.linear1 = Conv1d(in_channels, in_channels // 2, 1)
        self.linear2 = Conv1d(in_channels // 2, channels, 1)

    def __call__(self, x: mx.array) -> mx.array:
        context = x.mean(axis=1, keepdims=True) + self._segment_means(x)
        # The gate is the same all along a segment, so it is computed once for each.
        gate = mx.sigmoid(self.linear2(nn.relu(self.linear1(context))))
        gate = mx.repeat(gate, self._segment, axis=1)[:, : x.shape[1]]
        return self.linear_local(x) * gate

    def _segment_means(self, x: mx.array) -> mx.array:
        """Means over 100 frames each, the last over those that are left: (B, segments, C)."""
        frames = x.shape[1]
        segments = math.ceil(frames / self._segment)
        missing = segments * self._segment - frames
        padded = mx.pad(x, [(0, 0), (0, missing), (0, 0)])
        sums = padded.reshape(x.shape[0], segments, self._segment, x.shape[2]).sum(axis=2)
        counts = mx.full((segments, 1), self._segment, dtype=x.dtype)
        counts[-1] = self._segment - missing
        return sums / counts


class CAMDenseTDNNLayer(nn.Module):
    """Bottleneck and masked convolution; its output is appended to its input."""

    def __init__(self, in_channels: int, config: CAMPPlusConfig, dilation: int):
        super().__init__()
        bottleneck = config.bn_size * config.growth_rate
        self.nonlinear1 = NormReLU(in_channels)
        self.linear1 = Conv1d(in_channels, bottleneck, 1, bias=False)
        self.nonlinear2 = NormReLU(bottleneck)
        self.cam_layer = CAMLayer(
            bottleneck, config.growth_rate, 3, dilation, config.segment_length
        )

    def __call__(self, x: mx.array) -> mx.array:
        bottleneck = self.nonlinear2(self.linear1(self.nonlinear1(x)))
        return mx.concatenate([x, self.cam_layer(bottleneck)], axis=-1)


class TransitLayer(nn.Module):
    """Batch norm, ReLU and a projection to half the channels."""

    def __init__(self, in_channels: int, channels: int):
        super().__init__()
        self.nonlinear = NormReLU(in_channels)
        self.linear = Conv1d(in_channels, channels, 1, bias=False)

    def __call__(self, x: mx.array) -> mx.array:
        return self.linear(self.nonlinear(x))


class DenseLayer(nn.Module):
    """Projection and a batch norm without learned scale."""

    def __init__(self, in_channels: int, channels: int):
        super().__init__()
        self.linear = Conv1d(in_channels, channels, 1, bias=False)
        self.nonlinear = {"batchnorm": nn.BatchNorm(channels, affine=False)}

    def __call__(self, x: mx.array) -> mx.array:
        return self.nonlinear["batchnorm"](self.linear(x[:, None]))[:, 0]


class XVector(nn.Module):
    """Densely connected masked convolutions, pooled to mean and deviation."""

    def __init__(self, in_channels: int, config: CAMPPlusConfig):
        super().__init__()
        channels = config.init_channels
        self.tdnn = TDNNLayer(in_channels, channels, 5, stride=2)
        self._blocks = len(config.block_layers)
        for block, (layers, dilation) in enumerate(
            zip(config.block_layers, config.block_dilations, strict=True), start=1
        ):
            self[f"block{block}"] = {
                f"tdnnd{layer + 1}": CAMDenseTDNNLayer(
                    channels + layer * config.growth_rate, config, dilation
                )
                for layer in range(layers)
            }
            channels += layers * config.growth_rate
            self[f"transit{block}"] = TransitLayer(channels, channels // 2)
            channels //= 2
        self.out_nonlinear = NormReLU(channels)
        self.dense = DenseLayer(2 * channels, config.embedding_size)

    def __call__(self, x: mx.array) -> mx.array:
        x = self.tdnn(x)
        for block in range(1, self._blocks + 1):
            for layer in self[f"block{block}"].values():
                x = layer(x)
            x = self[f"transit{block}"](x)
        x = self.out_nonlinear(x)
        # The root has no gradient at 0, where a channel is silent all along.
        deviation = mx.sqrt(mx.maximum(mx.var(x, axis=1, ddof=1), 1e-20))
        return self.dense(mx.concatenate([x.mean(axis=1), deviation], axis=-1))


class CAMPPlus(nn.Module):
    """Speaker encoder."""

    def __init__(self, config: CAMPPlusConfig):
        super().__init__()
        self.head = FCM(config)
        self.xvector = XVector(config.head_channels * (config.feat_dim // 8), config)

    def __call__(self, fbank: mx.array) -> mx.array:
        """Embed.

        Args:
            fbank: (B, T, 80) Kaldi filter banks at 100 frames/s, their mean over T taken off.

        Returns:
            (B, 192)
        """
        return self.xvector(self.head(fbank))
