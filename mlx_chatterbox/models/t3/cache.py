"""Caches of T3's keys and values of earlier positions, for every layer.

A `KVCache` is immutable and belongs to one sentence, or to the conditioning that every sentence of
a voice begins with; a `BatchKVCache` holds the rows of a batch while it is decoded, and is written
in place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import mlx.core as mx

from ...nn.attention import mask_bias
from ...runtime import device

# Takes new keys and values (B, H, T, D) and returns all that are attended to, (B, H, S, D).
UpdateCache = Callable[[mx.array, mx.array], tuple[mx.array, mx.array]]

# Slots are allocated this many at a time: when there are more of them a step is compiled again on
# the GPU, and on the CPU the earlier ones are copied.
CAPACITY_STEP = 256
# On the CPU, where nothing is compiled for a fixed capacity, a step attends to the slots in use,
# rounded up so that its elementwise kernels are traced for few lengths.
_EXTENT_STEP = 64


@dataclass(frozen=True)
class KVCache:
    """Keys and values of positions 0 to `length`.

    Attributes:
        keys, values: for each layer (B, H, length, D).
    """

    keys: tuple[mx.array, ...]
    values: tuple[mx.array, ...]

    @property
    def length(self) -> int:
        return self.keys[0].shape[2] if self.keys else 0


class CacheBuilder:
    """Appends to a cache, once for each layer; its one row serves every row of what follows."""

    def __init__(self, layers: int, earlier: KVCache | None = None):
        self._earlier = earlier
        self.keys: list = [None] * layers
        self.values: list = [None] * layers

    def layer(self, index: int) -> UpdateCache:
        """The function by which a layer appends its new keys and values."""

        def update(keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
            if self._earlier is not None:
                keys = _append(self._earlier.keys[index], keys)
                values = _append(self._earlier.values[index], values)
            self.keys[index], self.values[index] = keys, values
            return keys, values

        return update

    def cache(self) -> KVCache:
        """The earlier positions and the new ones."""
        return KVCache(tuple(self.keys), tuple(self.values))


def _append(earlier: mx.array, new: mx.array) -> mx.array:
    rows = (new.shape[0], *earlier.shape[1:])
    return mx.concatenate([mx.broadcast_to(earlier, rows), new], axis=2)


def causal_mask(earlier: int, new: int, dtype: mx.Dtype) -> mx.array | None:
    """Bias (new, earlier + new) by which a position attends to none after it; None for one."""
    if new == 1:
        return None
    ahead = mx.arange(earlier + new)[None] > earlier + mx.arange(new)[:, None]
    return mx.where(ahead, mask_bias(dtype), 0.0).astype(dtype)


class BatchKVCache:
    """Keys and values of a batch that writes one position a step.

    Rows begin at different slots and end at the same, so that all write at one place; a row's
    position is its slot less its padding.

    Attributes:
        keys, values: for each layer (B, H, capacity, D).
        padding: (B,) int32, slots before a row's first position.
        used: slots that are written.
    """

    def __init__(self, caches: Sequence[KVCache]):
        """Join the caches of sentences, each of as many rows."""
        rows = caches[0].keys[0].shape[0]
        self.used = max(cache.length for cache in caches)
        self._capacity = _rounded(self.used + 1, CAPACITY_STEP)
        gaps = [self.used - cache.length for cache in caches]
        # Guidance's second rows come after all first ones.
        self.padding = mx.array(gaps * rows, dtype=mx.int32)

        def joined(layers: Sequence[mx.array]) -> mx.array:
            after = self._capacity - self.used
            padded = [
                mx.pad(layer, [(0, 0), (0, 0), (gap, after), (0, 0)])
                for layer, gap in zip(layers, gaps, strict=True)
            ]
            if len(padded) == 1:
                return padded[0]
            return mx.concatenate([one[row : row + 1] for row in range(rows) for one in padded])

        layers = range(len(caches[0].keys))
        self.keys = [joined([cache.keys[i] for cache in caches]) for i in layers]
        self.values = [joined([cache.values[i] for cache in caches]) for i in layers]

    def make_room(self) -> None:
        """Allocate more slots if all are used."""
        if self.used < self._capacity:
            return
        self._capacity += CAPACITY_STEP
        widths = [(0, 0), (0, 0), (0, CAPACITY_STEP), (0, 0)]
        self.keys = [mx.pad(layer, widths) for layer in self.keys]
        self.values = [mx.pad(layer, widths) for layer in self.values]

    def keep(self, rows: mx.array) -> None:
        """Keep these rows and drop the others."""
        self.padding = self.padding[rows]
        self.keys = [layer[rows] for layer in self.keys]
        self.values = [layer[rows] for layer in self.values]

    def take_written(self, memory: list[mx.array]) -> None:
        """Take the keys and values that a step returned, of one slot more."""
        layers = len(self.keys)
        self.keys, self.values = memory[:layers], memory[layers:]
        self.used += 1

    @property
    def extent(self) -> int:
        """The number of slots that a step attends to."""
        return _rounded(self.used + 1, _EXTENT_STEP) if device.on_cpu() else self._capacity


def write_slot(memory: list[mx.array], index: int, slot: mx.array, extent: int) -> UpdateCache:
    """The function by which a layer writes its new keys and values in a step.

    Args:
        memory: the layers' keys, then their values; replaced in the list.
        index: of the layer.
        slot: (1,) int32, where the new position goes.
        extent: number of slots that are attended to.
    """
    layers = len(memory) // 2

    def update(keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        memory[index] = mx.slice_update(memory[index], keys, slot, (2,))
        memory[layers + index] = mx.slice_update(memory[layers + index], values, slot, (2,))
        return memory[index][:, :, :extent], memory[layers + index][:, :, :extent]

    return update


def slots_mask(padding: mx.array, slot: mx.array, extent: int, dtype: mx.Dtype) -> mx.array:
    """Bias (B, 1, 1, extent) that masks the slots before a row's beginning and after `slot`."""
    slots = mx.arange(extent)
    unseen = (slots < padding[:, None]) | (slots > slot)
    return mx.where(unseen, mask_bias(dtype), 0.0).astype(dtype)[:, None, None]


def _rounded(count: int, step: int) -> int:
    return -(-count // step) * step
