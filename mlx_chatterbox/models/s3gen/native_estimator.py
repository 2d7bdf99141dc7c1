"""An evaluation of the flow's estimator in C (`nn/native/estimator.c`), on Linux CPUs.

MLX arranges the estimator's hundreds of operations one by one and writes the result of each to
memory, which for a small model takes longer than the products do.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import TYPE_CHECKING

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from ...nn.conv import Conv1d, stacked
from ...runtime import native
from ...runtime.native.layers import NotPlain, linear_weights, plain, table

if TYPE_CHECKING:
    from .estimator import BasicTransformerBlock, CausalResnetBlock1D, ConditionalDecoder

# Of the norms, as `estimator.c` has it.
_EPS = 1e-5

_Weights = Iterator[np.ndarray | None]


class NativeEstimator:
    """Predicts the velocity as `ConditionalDecoder.velocity` does, of rows without padding.

    It holds on to the weights that the estimator has when it is made. So it is made for each
    evaluation, which with a small model takes a twentieth of its time and never uses old weights.

    Raises:
        NotPlain: see `NativeEstimator.of`, by which to make one.
    """

    def __init__(self, estimator: ConditionalDecoder):
        stages = [*estimator.down_blocks, *estimator.mid_blocks, *estimator.up_blocks]
        self._weights = (
            [list(_resnet(stage[0])) for stage in stages],
            [list(_transformer(block)) for stage in stages for block in stage[1]],
            [list(_ends(estimator))],
        )
        self._tables = [table(rows) for rows in self._weights]
        bins, _, width = estimator.final_proj.weight.shape
        heads, head_dim = estimator.heads
        self._bins = bins
        self._stages = len(stages), len(stages[0][1])
        self._sizes = bins, width, heads, head_dim, 4 * width, 4 * width

    @classmethod
    def of(cls, estimator: ConditionalDecoder) -> NativeEstimator | None:
        """For float32 weights of plain layers, where there is compiled code; or None."""
        if not native.takes():
            return None
        try:
            return cls(estimator)
        except NotPlain:
            return None

    def __call__(
        self, x: mx.array, mu: mx.array, time: mx.array, spks: mx.array, cond: mx.array
    ) -> mx.array:
        """Evaluate, now.

        Args:
            x, mu, cond: (B, T, 80).
            time: (1, 4 C) or (B, 4 C), embedded, behind Mish.
            spks: (B, 80).

        Returns:
            (B, T, 80)

        Raises:
            MemoryError: there is none left.
            ValueError: the shapes do not go together.
        """
        batch, frames, _ = x.shape
        times = mx.broadcast_to(time, (batch, time.shape[-1]))
        pointers = [ctypes.c_void_p(rows.ctypes.data) for rows in self._tables]
        sizes = (*pointers, *self._stages, frames, *self._sizes)
        mel, speaker = (frames, self._bins), (self._bins,)
        shapes = [mel, mel, speaker, mel, (self._sizes[-1],)]
        return stacked(
            [
                native.call("estimate", [*row], shapes, mel, *sizes)
                for row in zip(x, mu, spks, cond, times, strict=True)
            ]
        )


def _resnet(net: CausalResnetBlock1D) -> _Weights:
    """In the order of `Resnet` in `estimator.c`."""
    yield from linear_weights(net.mlp[1])
    for block in (net.block1, net.block2):
        yield from _conv(block.block[0])
        yield from _norm(block.block[2])
    yield from _conv(net.res_conv)


def _transformer(block: BasicTransformerBlock) -> _Weights:
    """In the order of `Transformer`."""
    attention, (wide, _, narrow) = block.attn1, block.ff.net
    yield from _norm(block.norm1)
    for projection in (attention.to_q, attention.to_k, attention.to_v):
        yield linear_weights(projection)[0]
    yield from linear_weights(attention.to_out[0])
    yield from _norm(block.norm3)
    yield from linear_weights(wide.proj)
    yield from linear_weights(narrow)


def _ends(estimator: ConditionalDecoder) -> _Weights:
    """In the order of `Ends`."""
    yield from _conv(estimator.down_blocks[0][2])
    yield from _conv(estimator.up_blocks[0][2])
    yield from _conv(estimator.final_block.block[0])
    yield from _norm(estimator.final_block.block[2])
    yield from _conv(estimator.final_proj)


def _conv(layer: nn.Module) -> _Weights:
    if not isinstance(layer, Conv1d) or layer.weight.shape[1] not in (1, 3):
        raise NotPlain
    yield plain(layer, "weight")
    yield plain(layer, "bias")


def _norm(layer: nn.Module) -> _Weights:
    if layer.eps != _EPS:
        raise NotPlain
    yield plain(layer, "weight")
    yield plain(layer, "bias")
