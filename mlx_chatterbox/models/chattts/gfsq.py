"""Grouped residual finite scalar quantisation: codes of sound to features and back.

A code is a number of a few digits to the base `levels`; a digit d stands for (d - 2) / 2 where
there are five of them, from -1 to 1. Each group of channels is quantised in stages, of which each
takes what the one before has left, on a scale of `levels` - 1 to one.
Source: finite scalar quantisation, https://arxiv.org/abs/2309.15505.
"""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn

from .config import DVAEConfig

# The bound of an unquantised digit lies so much beyond the outermost level.
_BOUND_MARGIN = 1e-3


class ResidualQuantizer(nn.Module):
    """The stages of one group of channels."""

    def __init__(self, config: DVAEConfig):
        super().__init__()
        width = config.encoder.out_channels // config.groups
        self.project_in = nn.Linear(width, config.digits)
        self.project_out = nn.Linear(config.digits, width)
        self._levels, self._digits, self._stages = config.levels, config.digits, config.stages

    def decode(self, codes: mx.array) -> mx.array:
        """(B, T, stages) int32 to (B, T, C)."""
        half = self._levels // 2
        places = mx.array([self._levels**place for place in range(self._digits)])
        digits = (codes[..., None] // places) % self._levels
        values = (digits.astype(mx.float32) - half) / half
        scales = mx.array([self._scale(stage) for stage in range(self._stages)])
        total = (values * scales[:, None]).sum(axis=-2)
        return self.project_out(total.astype(self.project_out.bias.dtype))

    def encode(self, features: mx.array) -> mx.array:
        """(B, T, C) to (B, T, stages) int32."""
        half = self._levels // 2
        # What the first stage quantises is bounded already, and each stage bounds it once more:
        # so the version of upstream's library does that the published weights are of.
        rest = self._bounded(self.project_in(features).astype(mx.float32))
        places = mx.array([self._levels**place for place in range(self._digits)])
        codes = []
        for stage in range(self._stages):
            scale = self._scale(stage)
            # mx.round takes halves to the even neighbour.
            levels = mx.round(self._bounded(rest / scale))
            rest = rest - levels / half * scale
            codes.append(((levels.astype(mx.int32) + half) * places).sum(axis=-1))
        return mx.stack(codes, axis=-1)

    def _scale(self, stage: int) -> float:
        return float(self._levels - 1) ** -stage

    def _bounded(self, x: mx.array) -> mx.array:
        return (self._levels - 1) * (1 + _BOUND_MARGIN) / 2 * mx.tanh(x)


class GFSQ(nn.Module):
    """All groups; codebooks are ordered group by group, stage by stage within them."""

    def __init__(self, config: DVAEConfig):
        super().__init__()
        self.groups = [ResidualQuantizer(config) for _ in range(config.groups)]
        self._stages = config.stages

    def decode(self, codes: mx.array) -> mx.array:
        """(B, T, codebooks) int32 to (B, T, C)."""
        parts = mx.split(codes, len(self.groups), axis=-1)
        decoded = [group.decode(part) for group, part in zip(self.groups, parts, strict=True)]
        return mx.concatenate(decoded, axis=-1)

    def encode(self, features: mx.array) -> mx.array:
        """(B, T, C) to (B, T, codebooks) int32."""
        parts = mx.split(features, len(self.groups), axis=-1)
        encoded = [group.encode(part) for group, part in zip(self.groups, parts, strict=True)]
        return mx.concatenate(encoded, axis=-1)
