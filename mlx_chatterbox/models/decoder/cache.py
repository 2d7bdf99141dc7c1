"""Caches of a transformer's keys and values of earlier positions, for every layer.

A `KVCache` is immutable and belongs to one sentence, or to the conditioning that every sentence of
a voice begins with. While sentences are decoded a `RowCache` has the slots of one of them, and a
`SharedCache` those of several in one array a layer; both are written in place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate

import mlx.core as mx

from ...nn.attention import attend, mask_bias
from ...runtime import device

# Takes queries, new keys and new values, (B, H, T, D), and the scale of the scores; attends to all
# keys that there are, and returns (B, H, T, D).
AttendCached = Callable[[mx.array, mx.array, mx.array, float], mx.array]

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

    def rows(self) -> list[KVCache]:
        """Each row by itself."""
        return [
            KVCache(
                *(
                    tuple(layer[row : row + 1] for layer in layers)
                    for layers in (self.keys, self.values)
                )
            )
            for row in range(self.keys[0].shape[0])
        ]


class CacheBuilder:
    """Appends to a cache, once for each layer; its one row serves every row of what follows.

    Args:
        bias: added to the scores, broadcast to (B, H, T, S); None where nothing is masked.
    """

    def __init__(self, layers: int, bias: mx.array | None = None, earlier: KVCache | None = None):
        self._bias, self._earlier = bias, earlier
        self._keys: list = [None] * layers
        self._values: list = [None] * layers

    def attend_in(self, layer: int) -> AttendCached:
        """The function by which a layer appends its new keys and values, and attends to all."""

        def attend_all(
            queries: mx.array, keys: mx.array, values: mx.array, scale: float
        ) -> mx.array:
            if self._earlier is not None:
                keys = _append(self._earlier.keys[layer], keys)
                values = _append(self._earlier.values[layer], values)
            self._keys[layer], self._values[layer] = keys, values
            return attend(queries, keys, values, scale, self._bias)

        return attend_all

    def cache(self) -> KVCache:
        """The earlier positions and the new ones."""
        return KVCache(tuple(self._keys), tuple(self._values))


def _append(earlier: mx.array, new: mx.array) -> mx.array:
    rows = (new.shape[0], *earlier.shape[1:])
    return mx.concatenate([mx.broadcast_to(earlier, rows), new], axis=2)


def causal_mask(earlier: int, new: int, dtype: mx.Dtype) -> mx.array | None:
    """Bias (new, earlier + new) by which a position attends to none after it; None for one."""
    if new == 1:
        return None
    ahead = mx.arange(earlier + new)[None] > earlier + mx.arange(new)[:, None]
    return mx.where(ahead, mask_bias(dtype), 0.0).astype(dtype)


class RowCache:
    """Keys and values of one sentence, in slots of its own, of which the first is its first.

    Attributes:
        keys, values: for each layer (n, H, capacity, D); n is 2 with guidance, else 1.
        used: slots that are written.
    """

    def __init__(self, cache: KVCache):
        self.used = cache.length
        self.capacity = rounded_capacity(self.used + 1)
        widths = [(0, 0), (0, 0), (0, self.capacity - self.used), (0, 0)]
        self.keys = [mx.pad(layer, widths) for layer in cache.keys]
        self.values = [mx.pad(layer, widths) for layer in cache.values]

    @property
    def rows(self) -> int:
        return self.keys[0].shape[0]

    @property
    def extent(self) -> int:
        """The number of slots that a step attends to: it follows from the row's own length."""
        return _extent(self.used, self.capacity)

    def make_room(self) -> None:
        """Allocate more slots if all are used."""
        if self.used < self.capacity:
            return
        self.capacity += CAPACITY_STEP
        widths = [(0, 0), (0, 0), (0, CAPACITY_STEP), (0, 0)]
        self.keys = [mx.pad(layer, widths) for layer in self.keys]
        self.values = [mx.pad(layer, widths) for layer in self.values]

    def attends(self) -> list[AttendCached]:
        """For each layer the function that writes one position, (n, H, 1, D), and attends to all.

        The caller adds to `used` when all layers are done.
        """
        slot, extent = mx.array([self.used]), self.extent
        bias = slots_mask(slot, extent, self.keys[0].dtype)

        def attend_own(
            layer: int, queries: mx.array, keys: mx.array, values: mx.array, scale: float
        ) -> mx.array:
            self.keys[layer] = mx.slice_update(self.keys[layer], keys, slot, (2,))
            self.values[layer] = mx.slice_update(self.values[layer], values, slot, (2,))
            seen = (self.keys[layer][:, :, :extent], self.values[layer][:, :, :extent])
            return attend(queries, *seen, scale, bias)

        return [partial(attend_own, layer) for layer in range(len(self.keys))]


class SharedCache:
    """Keys and values of several product rows, in one array a layer, (P, H, capacity, D).

    A product row is a row of a step's matrix products: a sentence has one, with guidance two. Each
    begins at slot 0 and has a length of its own.

    Attributes:
        keys, values: for each layer.
        used: of each product row the slots that are written; 0 if no sentence has it.
        capacity: slots of each.
    """

    def __init__(self) -> None:
        self.keys: list[mx.array] = []
        self.values: list[mx.array] = []
        self.used: list[int] = []
        self.capacity = 0

    @property
    def extent(self) -> int:
        """The number of slots that a step attends to: that of the longest row."""
        return _extent(max(self.used), self.capacity)

    def add(self, cache: KVCache) -> list[int]:
        """Copy the rows of a cache to places that are free, and return those."""
        rows = cache.keys[0].shape[0]
        if not self.keys:
            self.keys, self.values = (
                [mx.zeros((0, *layer.shape[1:]), layer.dtype)[:, :, :0] for layer in layers]
                for layers in (cache.keys, cache.values)
            )
        self._widen(rows - self.used.count(0))
        self.make_room(cache.length + 1)
        free = [place for place, used in enumerate(self.used) if not used][:rows]
        # A place that was used is cleared: masked slots count for nothing only if they are numbers.
        widths = [(0, 0), (0, 0), (0, self.capacity - cache.length), (0, 0)]
        for row, place in enumerate(free):
            self.used[place] = cache.length
            start = mx.array([place])
            for own, added in ((self.keys, cache.keys), (self.values, cache.values)):
                for layer, new in enumerate(added):
                    whole = mx.pad(new[row : row + 1], widths)
                    own[layer] = mx.slice_update(own[layer], whole, start, (0,))
        return free

    def make_room(self, slots: int) -> None:
        """Allocate more slots if there are fewer than that many."""
        if slots > self.capacity:
            more = rounded_capacity(slots) - self.capacity
            self.capacity += more
            self._pad([(0, 0), (0, 0), (0, more), (0, 0)])

    def _widen(self, missing: int) -> None:
        """Make room for so many more product rows."""
        if missing <= 0:
            return
        wanted = len(self.used) + missing
        # Another number of rows is another trace on the GPU.
        more = (wanted if device.on_cpu() else 1 << (wanted - 1).bit_length()) - len(self.used)
        self.used += [0] * more
        self._pad([(0, more), (0, 0), (0, 0), (0, 0)])

    def _pad(self, widths: list[tuple[int, int]]) -> None:
        self.keys = [mx.pad(layer, widths) for layer in self.keys]
        self.values = [mx.pad(layer, widths) for layer in self.values]

    def remove(self, places: Sequence[int]) -> list[int] | None:
        """Free places; return those that are kept, in their new order, or None if all stay.

        On the CPU a free place costs what a used one does, so they are dropped at once. On the GPU
        another number of rows is another trace of the step, so that their number is halved at
        least.
        """
        for place in places:
            self.used[place] = 0
        kept = [place for place, used in enumerate(self.used) if used]
        if device.on_cpu():
            if len(kept) == len(self.used):
                return None
        elif 2 * len(kept) > len(self.used):
            return None
        rows = mx.array(kept, dtype=mx.int32)
        self.used = [self.used[place] for place in kept]
        self.keys = [layer[rows] for layer in self.keys]
        self.values = [layer[rows] for layer in self.values]
        return kept

    def take_written(self, memory: list[mx.array], places: Sequence[int], slots: int = 1) -> None:
        """Take the keys and values that a step returned, of some slots more at these places."""
        layers = len(self.keys)
        self.keys, self.values = memory[:layers], memory[layers:]
        for place in places:
            self.used[place] += slots


def attends_to_shared(
    memory: list[mx.array],
    slots: mx.array,
    extent: int,
    dtype: mx.Dtype,
    last: mx.array | None = None,
) -> list[AttendCached]:
    """For each layer the function that writes new positions of every row, and attends to all.

    Args:
        memory: the layers' keys, then their values, (P, H, capacity, D); replaced in the list.
        slots: (P,) int32, where each row's new positions begin, or (1,) if it is one for all.
        extent: number of slots that are attended to.
        last: (P,) or (1,) int32, the last slot that each row sees; None: that of its one new
            position.
    """
    bias, layers = slots_mask(slots if last is None else last, extent, dtype), len(memory) // 2

    def written(index: int, new: mx.array) -> mx.array:
        if slots.shape[0] == 1:
            memory[index] = mx.slice_update(memory[index], new, slots, (2,))
        else:
            places = slots[:, None] + mx.arange(new.shape[2])
            at = mx.broadcast_to(places[:, None, :, None], new.shape)
            memory[index] = mx.put_along_axis(memory[index], at, new, axis=2)
        return memory[index][:, :, :extent]

    def attend_shared(
        layer: int, queries: mx.array, keys: mx.array, values: mx.array, scale: float
    ) -> mx.array:
        seen = written(layer, keys), written(layers + layer, values)
        return attend(queries, *seen, scale, bias)

    return [partial(attend_shared, layer) for layer in range(layers)]


def attends_apart(caches: Sequence[RowCache], rows: int) -> list[AttendCached]:
    """For each layer the function by which each cache's rows attend to their own slots alone.

    Args:
        caches: their rows come one after the other.
        rows: of the step; those beyond the caches' own attend to nothing, and get zeros.
    """
    own = [cache.attends() for cache in caches]
    ends = list(accumulate(cache.rows for cache in caches))
    starts = [end - cache.rows for end, cache in zip(ends, caches, strict=True)]

    def attend_each(
        layer: int, queries: mx.array, keys: mx.array, values: mx.array, scale: float
    ) -> mx.array:
        parts = [
            attends[layer](queries[start:end], keys[start:end], values[start:end], scale)
            for attends, start, end in zip(own, starts, ends, strict=True)
        ]
        idle = rows - (ends[-1] if ends else 0)
        if idle:
            parts.append(mx.zeros((idle, *queries.shape[1:]), dtype=queries.dtype))
        return mx.concatenate(parts) if len(parts) > 1 else parts[0]

    return [partial(attend_each, layer) for layer in range(len(caches[0].keys))]


def slots_mask(slots: mx.array, extent: int, dtype: mx.Dtype) -> mx.array:
    """Bias (P, 1, 1, extent) that masks all slots after `slots`, (P,) int32."""
    unseen = mx.arange(extent) > slots[:, None]
    return mx.where(unseen, mask_bias(dtype), 0.0).astype(dtype)[:, None, None]


def rounded_capacity(slots: int) -> int:
    """The number of slots that are allocated where so many are needed."""
    return _rounded(slots, CAPACITY_STEP)


def _extent(used: int, capacity: int) -> int:
    return min(_rounded(used + 1, _EXTENT_STEP), capacity) if device.on_cpu() else capacity


def _rounded(count: int, step: int) -> int:
    return -(-count // step) * step
