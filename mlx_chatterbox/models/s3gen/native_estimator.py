"""An evaluation of the flow's estimator in C (`runtime/native/estimator.c`), on Linux CPUs.

MLX arranges the estimator's hundreds of operations one by one and writes the result of each to
memory, which for a small model takes longer than the products do.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Sequence
from typing import Protocol

import mlx.core as mx
import numpy as np

from ...nn.conv import stacked
from ...runtime import native
from ...runtime.native.layers import NotPlain, address_table

# Of the norms, as `estimator.c` has it.
EPS = 1e-5

Row = Iterable[np.ndarray | None]


class CompiledUNet(Protocol):
    """An estimator that can be evaluated in C."""

    def in_c_order(self) -> tuple[Sequence[Row], Sequence[Row], Sequence[Row]]:
        """Return rows of weights for `Resnet`, `Transformer` and `Ends`; raises NotPlain."""

    def c_sizes(self) -> tuple[int, int, int, int, int, int]:
        """Return mel bins, channels, heads, channels of a head, stages and blocks of a stage."""


class NativeEstimator:
    """Predicts the velocity as `ConditionalDecoder.velocity` does, of rows without padding.

    It holds on to the weights that the estimator has when it is made. So it is made for each
    evaluation, which with a small model takes a twentieth of its time and never uses old weights.

    Raises:
        NotPlain: see `NativeEstimator.of`, by which to make one.
    """

    def __init__(self, estimator: CompiledUNet):
        self._weights = [[list(row) for row in rows] for rows in estimator.in_c_order()]
        self._tables = [address_table(rows) for rows in self._weights]
        bins, width, heads, head_dim, *self._stages = estimator.c_sizes()
        self._bins = bins
        self._sizes = bins, width, heads, head_dim, 4 * width, 4 * width

    @classmethod
    def of(cls, estimator: CompiledUNet) -> NativeEstimator | None:
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
            time: (1, 4 C) or (B, 4 C), embedded, after Mish.
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
