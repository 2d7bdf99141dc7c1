"""Conformer layers in C (`runtime/native/conformer.c`), on Linux CPUs."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Sequence
from typing import Protocol

import mlx.core as mx
import numpy as np

from ...nn.conv import stacked
from ...runtime import native
from ...runtime.native.layers import NotPlain, address_table


class CompiledLayer(Protocol):
    """A layer that can be evaluated in C."""

    def in_c_order(self) -> Iterable[np.ndarray | None]:
        """Yield the weights in the order of `Layer` in `conformer.c`; raises NotPlain."""

    def c_sizes(self) -> tuple[int, int, int, float]:
        """Return heads, channels of a head, inner width and the norms' epsilon."""


class NativeLayers:
    """Conformer layers one after the other, over rows without padding.

    Raises:
        NotPlain: see `NativeLayers.of`, by which to make one.
    """

    def __init__(self, layers: Sequence[CompiledLayer]):
        self._weights = [list(layer.in_c_order()) for layer in layers]
        self._table = address_table(self._weights)
        sizes = {layer.c_sizes() for layer in layers}
        if len(sizes) > 1:
            raise NotPlain
        self._sizes = sizes.pop()

    @classmethod
    def of(cls, layers: Sequence[CompiledLayer]) -> NativeLayers | None:
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
        shape = (frames, width)
        shapes: list[tuple[int, ...]] = [shape, (2 * frames - 1, width)]
        return stacked(
            [native.call("conform", [row, positions], shapes, shape, *sizes) for row in x]
        )
