"""Slots of a sentence whose latest block is not decided yet.

A block's keys and values are written to the slots after those in use at each pass, over those of
the pass before, and count only when the block is committed. There is nothing to take back.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import accumulate

import mlx.core as mx

from ...nn.attention import attend
from ...runtime import device
from ..decoder.cache import AttendCached, RowCache, rounded_capacity, slots_mask

# See `decoder/cache.py`.
_EXTENT_STEP = 64


class BlockCache(RowCache):
    """`RowCache` that is written a block at a time; `used` are the committed slots."""

    def make_room_for(self, positions: int) -> None:
        """Allocate more slots if fewer than so many are free."""
        missing = rounded_capacity(self.used + positions) - self.capacity
        if missing <= 0:
            return
        self.capacity += missing
        widths = [(0, 0), (0, 0), (0, missing), (0, 0)]
        self.keys = [mx.pad(layer, widths) for layer in self.keys]
        self.values = [mx.pad(layer, widths) for layer in self.values]

    def commit(self, positions: int) -> None:
        """Keep what the latest pass wrote, of so many positions."""
        self.used += positions

    def attends_to_block(self, positions: int) -> list[AttendCached]:
        """For each layer the function that writes a block and attends to it and what is before.

        Args:
            positions: of the block. Entries beyond them, by which it is padded, write nothing
                and are seen by none.
        """
        last = self.used + positions
        # The number of slots follows from the row's own length, whatever its company.
        extent = self.capacity
        if device.on_cpu():
            extent = min(-(-last // _EXTENT_STEP) * _EXTENT_STEP, self.capacity)
        start = mx.array([self.used])
        bias = slots_mask(mx.array([last - 1]), extent, self.keys[0].dtype)

        def attend_block(
            layer: int, queries: mx.array, keys: mx.array, values: mx.array, scale: float
        ) -> mx.array:
            for own, new in ((self.keys, keys), (self.values, values)):
                own[layer] = mx.slice_update(own[layer], new[:, :, :positions], start, (2,))
            seen = (self.keys[layer][:, :, :extent], self.values[layer][:, :, :extent])
            return attend(queries, *seen, scale, bias)

        return [partial(attend_block, layer) for layer in range(len(self.keys))]


def attends_to_blocks(caches: Sequence[BlockCache], positions: Sequence[int]) -> list[AttendCached]:
    """For each layer the function by which each cache's rows attend to their own slots alone.

    Args:
        caches: have room; their rows come one after the other.
        positions: of the block of each.
    """
    own = [c.attends_to_block(n) for c, n in zip(caches, positions, strict=True)]
    ends = list(accumulate(cache.rows for cache in caches))
    starts = [0, *ends[:-1]]

    def attend_each(
        layer: int, queries: mx.array, keys: mx.array, values: mx.array, scale: float
    ) -> mx.array:
        parts = [
            attends[layer](queries[start:end], keys[start:end], values[start:end], scale)
            for attends, start, end in zip(own, starts, ends, strict=True)
        ]
        return mx.concatenate(parts) if len(parts) > 1 else parts[0]

    return [partial(attend_each, layer) for layer in range(len(caches[0].keys))]
