"""What T3 remembers of earlier positions: keys and values of every layer.

A `Past` is immutable and belongs to one sentence, or to the conditioning that every sentence of a
voice begins with; `Slots` holds the rows of a batch while it decodes, and is written in place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx

from ...runtime import device

# Slots are allocated this many at a time: on the GPU a step is compiled anew when they grow, and
# on the CPU growing copies what is there.
CAPACITY_STEP = 256
# On the CPU, where nothing is compiled for a fixed capacity, a step attends to the slots in use,
# rounded up so that its elementwise kernels are traced for few lengths.
_EXTENT_STEP = 64


def hidden_score(dtype: mx.Dtype) -> float:
    """What is added to the scores of a key that must not be seen; float16 has no larger numbers."""
    return -6e4 if dtype == mx.float16 else -1e9


@dataclass(frozen=True)
class Past:
    """Keys and values of positions 0 to `length`.

    Attributes:
        keys, values: for each layer (B, H, length, D).
    """

    keys: tuple[mx.array, ...]
    values: tuple[mx.array, ...]

    @property
    def length(self) -> int:
        return self.keys[0].shape[2] if self.keys else 0


class Growing:
    """Appends to a past, once for each layer; its one row serves every row of what follows."""

    def __init__(self, layers: int, past: Past | None = None):
        self._past = past
        self.keys: list = [None] * layers
        self.values: list = [None] * layers

    def layer(self, index: int):
        """What the layer does with its new keys and values."""

        def remember(keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
            if self._past is not None:
                keys = _append(self._past.keys[index], keys)
                values = _append(self._past.values[index], values)
            self.keys[index], self.values[index] = keys, values
            return keys, values

        return remember

    def past(self) -> Past:
        """All of it."""
        return Past(tuple(self.keys), tuple(self.values))


def _append(earlier: mx.array, new: mx.array) -> mx.array:
    rows = (new.shape[0], *earlier.shape[1:])
    return mx.concatenate([mx.broadcast_to(earlier, rows), new], axis=2)


def causal_bias(earlier: int, new: int, dtype: mx.Dtype) -> mx.array | None:
    """(new, earlier + new): new positions see all earlier ones, and each other up to themselves."""
    if new == 1:
        return None
    ahead = mx.arange(earlier + new)[None] > earlier + mx.arange(new)[:, None]
    return mx.where(ahead, hidden_score(dtype), 0.0).astype(dtype)


class Slots:
    """Keys and values of a batch that writes one position a step.

    Rows begin at different slots and end at the same, so that all write at one place; a row's
    position is its slot less its padding.

    Attributes:
        keys, values: for each layer (B, H, capacity, D).
        padding: (B,) int32, slots before a row's first position.
        used: slots that are written.
    """

    def __init__(self, pasts: Sequence[Past]):
        """Join sentences; each brings as many rows as the others."""
        rows = pasts[0].keys[0].shape[0]
        self.used = max(past.length for past in pasts)
        self._capacity = _rounded(self.used + 1, CAPACITY_STEP)
        gaps = [self.used - past.length for past in pasts]
        # Guidance's second rows stand after all first ones.
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

        layers = range(len(pasts[0].keys))
        self.keys = [joined([past.keys[i] for past in pasts]) for i in layers]
        self.values = [joined([past.values[i] for past in pasts]) for i in layers]

    def make_room(self) -> None:
        """See to it that one more slot can be written."""
        if self.used < self._capacity:
            return
        self._capacity += CAPACITY_STEP
        widths = [(0, 0), (0, 0), (0, CAPACITY_STEP), (0, 0)]
        self.keys = [mx.pad(layer, widths) for layer in self.keys]
        self.values = [mx.pad(layer, widths) for layer in self.values]

    def keep(self, rows: mx.array) -> None:
        """Let the other rows go."""
        self.padding = self.padding[rows]
        self.keys = [layer[rows] for layer in self.keys]
        self.values = [layer[rows] for layer in self.values]

    def written(self, memory: list[mx.array]) -> None:
        """Take what a step made of the keys and values, one slot more."""
        layers = len(self.keys)
        self.keys, self.values = memory[:layers], memory[layers:]
        self.used += 1

    @property
    def extent(self) -> int:
        """How many slots a step attends to."""
        return _rounded(self.used + 1, _EXTENT_STEP) if device.on_cpu() else self._capacity


def write(memory: list[mx.array], index: int, slot: mx.array, extent: int):
    """What a layer does in a step with `memory`, the layers' keys and then their values.

    Args:
        slot: (1,) int32, where the new position goes.
        extent: how many slots are attended to.
    """
    layers = len(memory) // 2

    def remember(keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        memory[index] = mx.slice_update(memory[index], keys, slot, (2,))
        memory[layers + index] = mx.slice_update(memory[layers + index], values, slot, (2,))
        return memory[index][:, :, :extent], memory[layers + index][:, :, :extent]

    return remember


def slots_bias(padding: mx.array, slot: mx.array, extent: int, dtype: mx.Dtype) -> mx.array:
    """(B, 1, 1, extent): hides what is before a row's beginning and after the slot."""
    slots = mx.arange(extent)
    unseen = (slots < padding[:, None]) | (slots > slot)
    return mx.where(unseen, hidden_score(dtype), 0.0).astype(dtype)[:, None, None]


def _rounded(count: int, step: int) -> int:
    return -(-count // step) * step
