"""Conformer layers in C (`nn/native/conformer.c`), on Linux CPUs."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import mlx.core as mx
import numpy as np

from ...nn.conv import stacked
from ...runtime import native
from ...runtime.native.layers import NotPlain, linear_weights, plain, table

if TYPE_CHECKING:
    from .encoder import ConformerLayer


class NativeLayers:
    """Conformer layers one after the other, over rows without padding.

    Raises:
        NotPlain: see `NativeLayers.of`, by which to make one.
    """

    def __init__(self, layers: Sequence[ConformerLayer]):
        self._weights = [list(_weights(layer)) for layer in layers]
        self._table = table(self._weights)
        heads, head_dim = layers[0].self_attn.pos_bias_u.shape
        inner = layers[0].feed_forward.w_1.weight.shape[0]
        norms = [norm for layer in layers for norm in (layer.norm_mha, layer.norm_ff)]
        if len({norm.eps for norm in norms}) > 1:
            raise NotPlain
        self._sizes = heads, head_dim, inner, float(norms[0].eps)

    @classmethod
    def of(cls, layers: Sequence[ConformerLayer]) -> NativeLayers | None:
        """For float32 weights of plain layers, where there is compiled code; or None."""
        if not layers or not native.takes():
            return None
        try:
            return cls(layers)
        except NotPlain:
            return None

    def __call__(self, x: mx.array, positions: mx.array) -> mx.array:
        """Evaluate, now.

        Args:
            x: (B, T, C).
            positions: (2 T - 1, C), `relative_positions`.

        Returns:
            (B, T, C)

        Raises:
            MemoryError: there is none left.
        """
        layers = ctypes.c_void_p(self._table.ctypes.data), len(self._table)
        frames, width = x.shape[1], self._sizes[0] * self._sizes[1]
        sizes = (*layers, frames, *self._sizes)
        shape, shapes = (frames, width), [(frames, width), (2 * frames - 1, width)]
        return stacked(
            [native.call("conform", [row, positions], shapes, shape, *sizes) for row in x]
        )


def _weights(layer: ConformerLayer) -> Iterator[np.ndarray | None]:
    """In the order of `Layer` in `conformer.c`."""
    attention, feed_forward = layer.self_attn, layer.feed_forward
    yield from (plain(layer.norm_mha, "weight"), plain(layer.norm_mha, "bias"))
    for projection in (attention.linear_q, attention.linear_k, attention.linear_v):
        yield from linear_weights(projection)
    yield linear_weights(attention.linear_pos)[0]
    yield from (plain(attention, "pos_bias_u"), plain(attention, "pos_bias_v"))
    yield from linear_weights(attention.linear_out)
    yield from (plain(layer.norm_ff, "weight"), plain(layer.norm_ff, "bias"))
    yield from linear_weights(feed_forward.w_1)
    yield from linear_weights(feed_forward.w_2)
