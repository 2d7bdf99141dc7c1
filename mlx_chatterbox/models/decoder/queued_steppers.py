"""Steps by MLX, computed while Python reads the tokens of those before."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten

from ...runtime import device, native
from ...runtime.parallel import prefill_threads
from .cache import KVCache, RowCache, SharedCache, rounded_capacity
from .network import DecoderNetwork
from .rows import Progress
from .steppers import Stepper, Written, groups_of, guidance, guide, own_slots, show_logits

# Stands for a token of a row whose logits are not numbers.
_NOT_A_NUMBER = -1


class _QueuedStepper(Stepper):
    """Steps that MLX computes while Python reads the tokens of those before."""

    is_queued = True

    def __init__(self, network: DecoderNetwork):
        super().__init__(network)
        self._first_memory = mx.array(self._sampler.first_memory())[None]
        # Or a thread that asks for the next token could not evaluate it.
        mx.eval(self._first_memory)
        # Of each row, where its latest token and its memory lie: in an array of several.
        self._latest: dict[Progress, tuple[mx.array, mx.array, int]] = {}
        self._unread: dict[Progress, list[tuple[mx.array, mx.array | None, int]]] = {}

    def _join(self, row: Progress, logits: mx.array, hidden: mx.array) -> None:
        none = mx.zeros((1, *self._sampler.shape), dtype=mx.int32)
        self._latest[row] = (none, self._first_memory, 0)
        self._unread[row] = []
        self._draw([row], logits, hidden)

    def leave(self, rows: Sequence[Progress]) -> None:
        for row in rows:
            self._latest.pop(row, None)
            self._unread.pop(row, None)

    def read(self, rows: Sequence[Progress]) -> list[Written]:
        oldest = [self._unread[row].pop(0) for row in rows]
        # By the array's number: those of a step lie in one.
        values: dict[int, np.ndarray] = {}
        for arrays in oldest:
            for array in arrays[:2]:
                if array is not None and id(array) not in values:
                    values[id(array)] = np.asarray(array)
        read = []
        for drawn, hidden, place in oldest:
            token = values[id(drawn)][place].tolist()
            is_number = _NOT_A_NUMBER not in np.atleast_1d(token)
            one = tuple(token) if self._sampler.shape else token
            kept = None if hidden is None else values[id(hidden)][place]
            read.append(Written(one if is_number else None, kept))
        return read

    def _tokens(self, rows: Sequence[Progress]) -> tuple[mx.array, mx.array]:
        """The latest token (S,) or (S, W) of each row, and its memory (S, ...)."""
        latest = [self._latest[row] for row in rows]
        tokens, memory, _ = latest[0]
        places = [place for _, _, place in latest]
        if all(one is tokens for one, _, _ in latest):
            if places == list(range(tokens.shape[0])):
                return tokens, memory
            return tokens[mx.array(places)], memory[mx.array(places)]
        return (
            mx.concatenate([one[place : place + 1] for one, _, place in latest]),
            mx.concatenate([one[place : place + 1] for _, one, place in latest]),
        )

    def _draw(self, rows: Sequence[Progress], logits: mx.array, hidden: mx.array) -> None:
        """Draw from the logits of all product rows, (P, V) or (P, W, V), the rows' own first."""
        logits, hidden = self._guided(rows, logits, hidden)
        if any(row.request.on_logits is not None for row in rows):
            show_logits(rows, np.array(logits))
        _, memory = self._tokens(rows)
        tokens = self._drawn(rows, logits, memory)
        forced = [row.forced for row in rows]
        if any(token is not None for token in forced):
            own = mx.array([token is None for token in forced]).reshape(-1, *self._ones)
            none = np.zeros(self._sampler.shape, dtype=np.int32)
            instead = np.array([none if token is None else token for token in forced], np.int32)
            tokens = mx.where(own, tokens, mx.array(instead))
        memory = self._sampler.remember(memory, tokens, [row.drawn for row in rows])
        is_number = ~mx.isnan(logits.reshape(len(rows), -1)).any(axis=-1)
        unread = mx.where(is_number.reshape(-1, *self._ones), tokens, _NOT_A_NUMBER)
        kept = hidden.astype(mx.float32) if self._network.keeps_hidden else None
        # The token needs every layer's keys and values, so they are computed with it. Asked for
        # by themselves they would be held until the step is done, and the next step, which is
        # encoded before that, would copy them all to write one slot.
        mx.async_eval(tokens, unread, memory, *([] if kept is None else [kept]))
        for place, row in enumerate(rows):
            self._latest[row] = (tokens, memory, place)
            self._unread[row].append((unread, kept, place))
            row.drawn += 1

    @property
    def _ones(self) -> tuple[int, ...]:
        """The shape of what is alike for all numbers of a token."""
        return (1,) * len(self._sampler.shape)

    def _guided(
        self, rows: Sequence[Progress], logits: mx.array, hidden: mx.array
    ) -> tuple[mx.array, mx.array]:
        if logits.shape[0] == len(rows):
            return logits, hidden
        first, second, weights = guidance(rows)
        if logits.shape[0] == 2 * len(rows):
            return guide(logits[::2], logits[1::2], mx.array(weights)), hidden[::2]
        own = mx.array(first)
        return guide(logits[own], logits[mx.array(second)], mx.array(weights)), hidden[own]

    def _drawn(self, rows: Sequence[Progress], logits: mx.array, memory: mx.array) -> mx.array:
        """Draw a token a row, (S,) or (S, W), those that are processed alike together."""
        sampler, tokens, order = self._sampler, [], []
        for alike, some in self._drawn_together(rows):
            keys = mx.array(np.stack([rows[i].keys[rows[i].drawn] for i in some]))
            chosen = mx.array(some)
            is_all = len(some) == len(rows)
            processed = sampler.process(
                logits if is_all else logits[chosen], memory if is_all else memory[chosen], alike
            )
            tokens.append(sampler.draw(processed, keys, alike).astype(mx.int32))
            order += some
        if len(tokens) == 1:
            return tokens[0]
        return mx.concatenate(tokens)[mx.array(np.argsort(order))]

    def _drawn_together(self, rows: Sequence[Progress]) -> list[tuple[Hashable, list[int]]]:
        """Rows that are drawn by the same operations, and what they have alike."""
        return list(self._together(rows).items())


class SharedStepper(_QueuedStepper):
    """Steps by MLX with the keys and values of all rows in one array a layer: fast."""

    def __init__(self, network: DecoderNetwork):
        super().__init__(network)
        self._cache = SharedCache()
        self._places: dict[Progress, list[int]] = {}

    def join(self, row: Progress, logits: mx.array, hidden: mx.array, past: KVCache) -> None:
        self._places[row] = self._cache.add(past)
        self._join(row, logits, hidden)
        mx.async_eval(self._cache.keys, self._cache.values)

    def leave(self, rows: Sequence[Progress]) -> None:
        super().leave(rows)
        kept = self._cache.remove([place for row in rows for place in self._places.pop(row, [])])
        if kept is not None:
            order = {before: now for now, before in enumerate(kept)}
            for row, places in self._places.items():
                self._places[row] = [order[place] for place in places]

    @property
    def slots(self) -> int:
        return len(self._cache.used) * self._cache.capacity

    def slots_after_step(self, rows: Sequence[Progress], joining: tuple[int, int] = (0, 0)) -> int:
        count, most = joining
        for row in rows:
            count += row.rows
            most = max(most, *(self._cache.used[place] + 1 for place in self._places[row]))
        return count * rounded_capacity(most)

    def advance(self, rows: Sequence[Progress]) -> None:
        cache = self._cache
        taken = [place for row in rows for place in self._places[row]]
        cache.make_room(max(cache.used[place] for place in taken) + 1)
        tokens, _ = self._tokens(rows)
        slots, owners, positions = ([0] * len(cache.used) for _ in range(3))
        for i, row in enumerate(rows):
            for place in self._places[row]:
                slots[place], owners[place], positions[place] = cache.used[place], i, row.drawn
        idle = set(range(len(slots))) - set(taken)
        for place in idle:
            # A row that was left out waits: what it writes is written again.
            used = min(cache.used[place], cache.capacity - 1)
            slots[place] = used or slots[taken[0]]
            positions[place] = positions[taken[0]]
        if owners != list(range(tokens.shape[0])):
            tokens = tokens[mx.array(owners)]
        memory = [*cache.keys, *cache.values]
        step = self._network.step if device.on_cpu() else self._network.compiled_step
        logits, hidden, memory = step(
            tokens, _one_or_all(positions), _one_or_all(slots), memory, cache.extent
        )
        cache.take_written(memory, taken)
        if taken != list(range(logits.shape[0])):
            logits, hidden = logits[mx.array(taken)], hidden[mx.array(taken)]
        self._draw(rows, logits, hidden)


class ApartStepper(_QueuedStepper):
    """Steps by MLX in which no row's logits depend on others, to the bit.

    Every product has the same number of rows, of which some belong to no sentence, and at most as
    many as are rounded alike at every place among them, which is tried out. Attention is computed
    row by row, over slots of the row's own.

    Args:
        width: most product rows of a step.
    """

    def __init__(self, network: DecoderNetwork, width: int):
        super().__init__(network)
        self._width = alike_width(network, width)
        # Where a step has one product row, a guided sentence has two of them.
        self._own: dict[Progress, list[RowCache]] = {}

    def join(self, row: Progress, logits: mx.array, hidden: mx.array, past: KVCache) -> None:
        parts = past.rows() if self._width == 1 else [past]
        caches = self._own[row] = [RowCache(part) for part in parts]
        self._join(row, logits, hidden)
        mx.async_eval([[cache.keys, cache.values] for cache in caches])

    def leave(self, rows: Sequence[Progress]) -> None:
        super().leave(rows)
        for row in rows:
            self._own.pop(row, None)

    @property
    def slots(self) -> int:
        caches = (cache for own in self._own.values() for cache in own)
        return sum(cache.rows * cache.capacity for cache in caches)

    def slots_after_step(self, rows: Sequence[Progress], joining: tuple[int, int] = (0, 0)) -> int:
        return own_slots([cache for row in rows for cache in self._own[row]], joining)

    def advance(self, rows: Sequence[Progress]) -> None:
        with _known_threads(self._network) as is_now:
            self._advance(rows)
            if is_now:
                mx.eval([self._latest[row][:2] for row in rows])

    def _advance(self, rows: Sequence[Progress]) -> None:
        for group in groups_of(rows, max(self._width, 2)):
            tokens, _ = self._tokens(group)
            caches = [cache for row in group for cache in self._own[row]]
            for cache in caches:
                cache.make_room()
            owners = [i for i, row in enumerate(group) for _ in range(row.rows)]
            positions = [row.drawn for row in group for _ in range(row.rows)]
            slots = [cache.used for cache in caches for _ in range(cache.rows)]
            if self._width == 1:
                steps = [
                    ([i], [p], [s], [c])
                    for i, p, s, c in zip(owners, positions, slots, caches, strict=True)
                ]
            else:
                idle = [0] * (self._width - len(slots))
                steps = [(owners + idle, positions + idle, slots + idle, caches)]
            predicted = [
                self._network.step_apart(tokens[mx.array(i)], mx.array(p), mx.array(s), own)
                for i, p, s, own in steps
            ]
            logits = mx.concatenate([one for one, _ in predicted])
            hidden = mx.concatenate([one for _, one in predicted])
            self._draw(group, logits[: len(slots)], hidden[: len(slots)])

    def _drawn_together(self, rows: Sequence[Progress]) -> list[tuple[Hashable, list[int]]]:
        together = self._together(rows).items()
        alike = {i: alike for alike, some in together for i in some}
        return [(alike[i], [i]) for i in range(len(rows))]


@contextmanager
def _known_threads(network: DecoderNetwork) -> Iterator[bool]:
    """Fix the threads of a BLAS where it makes the products, which it may round by their number.

    Yields:
        True where it is so: what is computed is to be evaluated within the block.
    """
    if device.on_cpu() and native.library() is None:
        with prefill_threads(network.is_small):
            yield True
    else:
        yield False


def alike_width(network: DecoderNetwork, most: int) -> int:
    """The largest number of product rows up to `most` that are rounded alike at every place.

    BLAS libraries compute the rows of a product by different code, depending on their number and
    place. So a step is made of equal rows, and their logits compared: `most` of them, half as many,
    and so on. The result is remembered for a network, as long as its layers are of the same kinds.
    """
    layers = dict(tree_flatten(network.module.leaf_modules(), is_leaf=nn.Module.is_module)).values()
    kinds = frozenset((type(layer), layer["weight"].dtype) for layer in layers if "weight" in layer)
    asked = (most, device.on_cpu(), kinds)
    if asked not in network.alike_widths:
        width = most
        with _known_threads(network):
            while width > 1 and not _are_alike(network, width):
                width //= 2
        network.alike_widths[asked] = width
    return network.alike_widths[asked]


def _are_alike(network: DecoderNetwork, width: int) -> bool:
    sampler = network.sampler
    zeros = mx.zeros((width,), dtype=mx.int32)
    nothing = network.empty_cache()
    for token in (sampler.vocabulary - 1, 0, sampler.vocabulary // 2):
        caches = [RowCache(nothing) for _ in range(width)]
        tokens = mx.full((width, *sampler.shape), token, dtype=mx.int32)
        logits, _ = network.step_apart(tokens, zeros, zeros, caches)
        if not mx.array_equal(logits, mx.broadcast_to(logits[:1], logits.shape)):
            return False
    return True


def _one_or_all(values: list[int]) -> mx.array:
    """(1,) if all are equal, else (P,) int32."""
    return mx.array(values[:1] if len(set(values)) == 1 else values, dtype=mx.int32)
