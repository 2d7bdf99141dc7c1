"""Steps of decoding: one more token for every running row, in C or by MLX.

Three ways, which the engine chooses among (`engine.py`):

* `NativeStepper`: in C. Each row's logits are the same to the bit with any company.
* `SharedStepper`: by MLX, all rows in one array a layer; fast, and up to rounding.
* `ApartStepper`: by MLX, to the bit: products of one number of rows at all times, and attention of
  each row by itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten

from ...runtime import device, native
from ...runtime.parallel import prefill_threads
from ..decoder.cache import KVCache, RowCache, SharedCache, rounded_capacity
from ..decoder.native_step import MOST_ROWS, NativeStep, repeated
from .rows import Progress
from .sampling import Array, draw, gumbel_noise, process_logits
from .t3 import T3

# Numbers of noise that are drawn at a time.
_NOISE_AT_ONCE = 1 << 16
# The token of a row whose logits are not numbers.
NOT_A_NUMBER = -1


def guide(conditional: Array, unconditional: Array, weights: Array) -> Array:
    """Classifier-free guidance (https://arxiv.org/abs/2207.12598).

    Args:
        conditional, unconditional: logits (S, V) with and without text; the same ones for rows
            without guidance.
        weights: (S, 1), 0 without guidance.

    Returns:
        (S, V): conditional + weight * (conditional - unconditional).
    """
    return conditional + weights * (conditional - unconditional)


class Stepper(ABC):
    """Steps the rows of an engine.

    Attributes:
        is_queued: True if `advance` queues a step, whose tokens are read after the next is queued.
    """

    is_queued: bool

    def __init__(self, t3: T3):
        self._t3, self._config = t3, t3.config

    @abstractmethod
    def join(self, row: Progress, logits: mx.array, past: KVCache) -> None:
        """Take a row after its prefill, and draw its first token.

        Args:
            logits: (n, V) float32, that with text first.
            past: keys and values of its n rows.
        """

    @abstractmethod
    def leave(self, rows: Sequence[Progress]) -> None:
        """Drop rows, and free their memory; also of those whose `join` failed."""

    @abstractmethod
    def advance(self, rows: Sequence[Progress]) -> None:
        """Draw one more token for each of some rows."""

    @abstractmethod
    def read(self, rows: Sequence[Progress]) -> list[int]:
        """The oldest token of each row that was not read; `NOT_A_NUMBER` where logits are not."""

    @abstractmethod
    def slots_after_step(self, rows: Sequence[Progress], joining: tuple[int, int] = (0, 0)) -> int:
        """Slots that are allocated, in all product rows, once some rows have made one more step.

        Args:
            joining: product rows of one more sentence, and slots that it comes with.
        """

    def _first_seen(self) -> np.ndarray:
        """(V,) bool: the tokens that the first draw is penalised for."""
        return np.arange(self._config.speech_tokens_dict_size) == self._config.start_speech_token

    def _forget_start(self, index: int) -> bool:
        """Upstream's GPT-2 loop penalises the start token at the first step and never again."""
        return self._config.is_gpt2 and index == 0


class _OwnCache:
    """State of a row that has slots of its own."""

    def __init__(self, past: KVCache, seen: np.ndarray):
        self.cache = RowCache(past)
        self.seen = seen
        self.token = 0
        self.unread: list[int] = []
        # Of the draws from number `noise_first` on, (n, V).
        self.noise = np.zeros((0, len(seen)), dtype=np.float32)
        self.noise_first = 0

    def noise_of(self, draw: int) -> np.ndarray:
        """(V,)"""
        return self.noise[draw - self.noise_first]


def _stacked(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Stack arrays, (n, ...); one is not copied."""
    return arrays[0][None] if len(arrays) == 1 else np.stack(arrays)


class NativeStepper(Stepper):
    """Steps in C, made when they are asked for; at most `MOST_ROWS` product rows at a time."""

    is_queued = False

    def __init__(self, t3: T3, step: NativeStep):
        super().__init__(t3)
        self._step = step
        self._own: dict[Progress, _OwnCache] = {}

    def join(self, row: Progress, logits: mx.array, past: KVCache) -> None:
        own = self._own[row] = _OwnCache(past, self._first_seen())
        guided = self._guided([row], np.array(logits))
        # The prompt's own arrays are held by nothing else from here on.
        mx.eval(own.cache.keys, own.cache.values)
        self._draw([row], guided)

    def leave(self, rows: Sequence[Progress]) -> None:
        for row in rows:
            self._own.pop(row, None)

    def advance(self, rows: Sequence[Progress]) -> None:
        for group in groups_of(rows, MOST_ROWS):
            owns = [self._own[row] for row in group]
            for own in owns:
                own.cache.make_room()
            counts = [row.rows for row in group]
            tokens = repeated([own.token for own in owns], counts)
            positions = repeated([row.drawn for row in group], counts)
            logits = self._step(tokens, positions, [own.cache for own in owns])
            self._draw(group, self._guided(group, logits))

    def read(self, rows: Sequence[Progress]) -> list[int]:
        return [self._own[row].unread.pop(0) for row in rows]

    def slots_after_step(self, rows: Sequence[Progress], joining: tuple[int, int] = (0, 0)) -> int:
        return _own_slots([self._own[row].cache for row in rows], joining)

    def _guided(self, rows: Sequence[Progress], logits: np.ndarray) -> np.ndarray:
        if len(logits) == len(rows):
            return logits
        first, second, weights = _guidance(rows)
        return guide(logits[first], logits[second], weights)

    def _draw(self, rows: Sequence[Progress], logits: np.ndarray) -> None:
        """Draw from guided logits, (S, V)."""
        owns = [self._own[row] for row in rows]
        _show_logits(rows, logits)
        is_number = ~np.isnan(logits.max(axis=-1))
        drawn = np.zeros(len(rows), dtype=np.int64)
        by_settings = defaultdict(list)
        for i, row in enumerate(rows):
            by_settings[row.request.sampling].append(i)
        for settings, some in by_settings.items():
            chosen = logits if len(some) == len(rows) else logits[some]
            seen = _stacked([owns[i].seen for i in some])
            processed = process_logits(chosen, seen, settings)
            if settings.temperature > 0.0:
                processed = processed + self._noise([rows[i] for i in some])
            drawn[some] = processed.argmax(axis=-1)
        for i, (row, own) in enumerate(zip(rows, owns, strict=True)):
            token = int(drawn[i]) if row.forced is None else row.forced
            if self._forget_start(row.drawn):
                own.seen[self._config.start_speech_token] = False
            own.seen[token], own.token = True, token
            own.unread.append(token if is_number[i] else NOT_A_NUMBER)
            row.drawn += 1

    def _noise(self, rows: Sequence[Progress]) -> np.ndarray:
        """Gumbel noise for the rows' next draws, (S, V), drawn for some at a time."""
        vocabulary = self._config.speech_tokens_dict_size
        owns = [self._own[row] for row in rows]
        due = [
            (row, own)
            for row, own in zip(rows, owns, strict=True)
            if row.drawn - own.noise_first >= len(own.noise)
        ]
        # A row that joins others will need it as often as they do.
        ahead = max(1, _NOISE_AT_ONCE // (vocabulary * max(len(due), len(self._own))))
        by_count = defaultdict(list)
        for row, own in due:
            by_count[min(ahead, len(row.keys) - row.drawn)].append((row, own))
        for count, some in by_count.items():
            keys = np.stack([row.keys[row.drawn : row.drawn + count] for row, _ in some])
            made = np.array(gumbel_noise(mx.array(keys), vocabulary))
            for (row, own), noise in zip(some, made, strict=True):
                own.noise, own.noise_first = noise, row.drawn
        return _stacked([own.noise_of(row.drawn) for row, own in zip(rows, owns, strict=True)])


class _QueuedStepper(Stepper):
    """Steps that MLX computes while Python reads the tokens of those before."""

    is_queued = True

    def __init__(self, t3: T3):
        super().__init__(t3)
        vocabulary = self._vocabulary = mx.arange(t3.config.speech_tokens_dict_size)[None]
        self._start = vocabulary == t3.config.start_speech_token
        # Or a thread that asks for the next token could not evaluate them.
        mx.eval(vocabulary, self._start)
        # Of each row, where its latest token and its seen tokens lie: in an array of several.
        self._latest: dict[Progress, tuple[mx.array, mx.array, int]] = {}
        self._unread: dict[Progress, list[tuple[mx.array, int]]] = {}

    def _join(self, row: Progress, logits: mx.array) -> None:
        self._latest[row] = (mx.zeros((1,), dtype=mx.int32), self._start, 0)
        self._unread[row] = []
        self._draw([row], logits)

    def leave(self, rows: Sequence[Progress]) -> None:
        for row in rows:
            self._latest.pop(row, None)
            self._unread.pop(row, None)

    def read(self, rows: Sequence[Progress]) -> list[int]:
        oldest = [self._unread[row].pop(0) for row in rows]
        values: dict[int, list[int]] = {}
        for drawn, _ in oldest:
            if id(drawn) not in values:
                values[id(drawn)] = np.asarray(drawn).tolist()
        return [values[id(drawn)][place] for drawn, place in oldest]

    def _tokens(self, rows: Sequence[Progress]) -> tuple[mx.array, mx.array]:
        """The latest token (S,) of each row, and its seen ones (S, V)."""
        latest = [self._latest[row] for row in rows]
        tokens, seen, _ = latest[0]
        places = [place for _, _, place in latest]
        if all(one is tokens for one, _, _ in latest):
            if places == list(range(tokens.shape[0])):
                return tokens, seen
            return tokens[mx.array(places)], seen[mx.array(places)]
        return (
            mx.concatenate([one[place : place + 1] for one, _, place in latest]),
            mx.concatenate([one[place : place + 1] for _, one, place in latest]),
        )

    def _draw(self, rows: Sequence[Progress], logits: mx.array) -> None:
        """Draw from the logits of all product rows, (P, V), the rows' own first."""
        logits = self._guided(rows, logits)
        if any(row.request.on_logits is not None for row in rows):
            _show_logits(rows, np.array(logits))
        _, seen = self._tokens(rows)
        tokens = self._drawn(rows, logits, seen)
        forced = [row.forced for row in rows]
        if any(token is not None for token in forced):
            own = mx.array([token is None for token in forced])
            tokens = mx.where(own, tokens, mx.array([token or 0 for token in forced]))
        first_draws = [[self._forget_start(row.drawn)] for row in rows]
        if any(is_first for [is_first] in first_draws):
            seen = seen & ~mx.array(first_draws)
        seen = seen | (self._vocabulary == tokens[:, None])
        is_number = ~mx.isnan(logits).any(axis=-1)
        unread = mx.where(is_number, tokens, NOT_A_NUMBER)
        # The token needs every layer's keys and values, so they are computed with it. Asked for
        # by themselves they would be held until the step is done, and the next step, which is
        # encoded before that, would copy them all to write one slot.
        mx.async_eval(tokens, unread, seen)
        for place, row in enumerate(rows):
            self._latest[row] = (tokens, seen, place)
            self._unread[row].append((unread, place))
            row.drawn += 1

    def _guided(self, rows: Sequence[Progress], logits: mx.array) -> mx.array:
        if logits.shape[0] == len(rows):
            return logits
        first, second, weights = _guidance(rows)
        if logits.shape[0] == 2 * len(rows):
            return guide(logits[::2], logits[1::2], mx.array(weights))
        return guide(logits[mx.array(first)], logits[mx.array(second)], mx.array(weights))

    def _drawn(self, rows: Sequence[Progress], logits: mx.array, seen: mx.array) -> mx.array:
        """Draw a token a row, (S,), those of equal settings together."""
        by_settings = defaultdict(list)
        for i, row in enumerate(rows):
            by_settings[self._drawn_together(i, row)].append(i)
        tokens = []
        for some in by_settings.values():
            settings = rows[some[0]].request.sampling
            keys = mx.array(np.stack([rows[i].keys[rows[i].drawn] for i in some]))
            chosen = mx.array(some)
            is_all = len(some) == len(rows)
            processed = process_logits(
                logits if is_all else logits[chosen], seen if is_all else seen[chosen], settings
            )
            tokens.append(draw(processed, settings, keys).astype(mx.int32))
        if len(tokens) == 1:
            return tokens[0]
        order = np.argsort([i for some in by_settings.values() for i in some])
        return mx.concatenate(tokens)[mx.array(order)]

    def _drawn_together(self, place: int, row: Progress) -> object:
        """Rows for which this is equal are drawn by the same operations."""
        return row.request.sampling


class SharedStepper(_QueuedStepper):
    """Steps by MLX with the keys and values of all rows in one array a layer: fast."""

    def __init__(self, t3: T3):
        super().__init__(t3)
        self._cache = SharedCache()
        self._places: dict[Progress, list[int]] = {}

    def join(self, row: Progress, logits: mx.array, past: KVCache) -> None:
        self._places[row] = self._cache.add(past)
        self._join(row, logits)
        mx.async_eval(self._cache.keys, self._cache.values)

    def leave(self, rows: Sequence[Progress]) -> None:
        super().leave(rows)
        kept = self._cache.remove([place for row in rows for place in self._places.pop(row, [])])
        if kept is not None:
            order = {before: now for now, before in enumerate(kept)}
            for row, places in self._places.items():
                self._places[row] = [order[place] for place in places]

    def slots_after_step(self, rows: Sequence[Progress], joining: tuple[int, int] = (0, 0)) -> int:
        count, most = joining
        for row in rows:
            count += row.rows
            most = max(most, *(self._cache.used[place] for place in self._places[row]))
        return count * rounded_capacity(most + 1)

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
        step = self._t3.step if device.on_cpu() else self._t3.compiled_step
        logits, _, memory = step(
            tokens, _one_or_all(positions), _one_or_all(slots), memory, cache.extent
        )
        cache.take_written(memory, taken)
        if taken != list(range(logits.shape[0])):
            logits = logits[mx.array(taken)]
        self._draw(rows, logits)


class ApartStepper(_QueuedStepper):
    """Steps by MLX in which no row's logits depend on others, to the bit.

    Every product has the same number of rows, of which some belong to no sentence, and at most as
    many as are rounded alike at every place among them, which is tried out. Attention is computed
    row by row, over slots of the row's own.

    Args:
        width: most product rows of a step.
    """

    def __init__(self, t3: T3, width: int):
        super().__init__(t3)
        self._width = alike_width(t3, width)
        # Where a step has one product row, a guided sentence has two of them.
        self._own: dict[Progress, list[RowCache]] = {}

    def join(self, row: Progress, logits: mx.array, past: KVCache) -> None:
        parts = past.rows() if self._width == 1 else [past]
        caches = self._own[row] = [RowCache(part) for part in parts]
        self._join(row, logits)
        mx.async_eval([[cache.keys, cache.values] for cache in caches])

    def leave(self, rows: Sequence[Progress]) -> None:
        super().leave(rows)
        for row in rows:
            self._own.pop(row, None)

    def slots_after_step(self, rows: Sequence[Progress], joining: tuple[int, int] = (0, 0)) -> int:
        return _own_slots([cache for row in rows for cache in self._own[row]], joining)

    def advance(self, rows: Sequence[Progress]) -> None:
        with _known_threads(self._t3) as is_now:
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
            logits = [
                self._t3.step_apart(tokens[mx.array(i)], mx.array(p), mx.array(s), own)[0]
                for i, p, s, own in steps
            ]
            self._draw(group, mx.concatenate(logits)[: len(slots)])

    def _drawn_together(self, place: int, row: Progress) -> object:
        return place


@contextmanager
def _known_threads(t3: T3) -> Iterator[bool]:
    """Fix the threads of a BLAS where it makes the products, which it may round by their number.

    Yields:
        True where it is so: what is computed is to be evaluated within the block.
    """
    if device.on_cpu() and native.library() is None:
        with prefill_threads(t3.is_small):
            yield True
    else:
        yield False


def alike_width(t3: T3, most: int) -> int:
    """The largest number of product rows up to `most` that are rounded alike at every place.

    BLAS libraries compute the rows of a product by different code, depending on their number and
    place. So a step is made of equal rows, and their logits compared: `most` of them, half as many,
    and so on. The result is remembered for a network, as long as its layers are of the same kinds.
    """
    layers = dict(tree_flatten(t3.leaf_modules(), is_leaf=nn.Module.is_module)).values()
    kinds = frozenset((type(layer), layer["weight"].dtype) for layer in layers if "weight" in layer)
    asked = (most, device.on_cpu(), kinds)
    if asked not in t3.alike_widths:
        width = most
        with _known_threads(t3):
            while width > 1 and not _are_alike(t3, width):
                width //= 2
        t3.alike_widths[asked] = width
    return t3.alike_widths[asked]


def _are_alike(t3: T3, width: int) -> bool:
    start = t3.config.start_speech_token
    zeros = mx.zeros((width,), dtype=mx.int32)
    nothing = t3.empty_cache()
    for token in (start, 0, start // 2):
        caches = [RowCache(nothing) for _ in range(width)]
        logits, _ = t3.step_apart(mx.full((width,), token, dtype=mx.int32), zeros, zeros, caches)
        if not mx.array_equal(logits, mx.broadcast_to(logits[:1], logits.shape)):
            return False
    return True


def _own_slots(caches: Sequence[RowCache], joining: tuple[int, int]) -> int:
    """`Stepper.slots_after_step` where each cache has slots of its own."""
    rows, slots = joining
    own = sum(cache.rows * rounded_capacity(cache.used + 1) for cache in caches)
    return own + rows * rounded_capacity(slots + 1)


def groups_of(rows: Sequence[Progress], most: int) -> list[list[Progress]]:
    """Rows in groups of at most so many product rows each, in order."""
    groups: list[list[Progress]] = []
    count = most
    for row in rows:
        count += row.rows
        if count > most:
            groups.append([])
            count = row.rows
        groups[-1].append(row)
    return groups


def _guidance(rows: Sequence[Progress]) -> tuple[list[int], list[int], np.ndarray]:
    """Places of the logits of each row with and without its text, and its weight, (S, 1)."""
    ends = list(accumulate(row.rows for row in rows))
    first = [end - row.rows for end, row in zip(ends, rows, strict=True)]
    second = [end - 1 for end in ends]
    return first, second, np.array([[row.weight] for row in rows], dtype=np.float32)


def _show_logits(rows: Sequence[Progress], logits: np.ndarray) -> None:
    """Call the rows' `on_logits`, each of which may raise: then its row fails."""
    if all(row.request.on_logits is None for row in rows):
        return
    for row, guided in zip(rows, logits, strict=True):
        if row.request.on_logits is not None and row.row.error is None:
            try:
                row.request.on_logits(row.drawn, guided)
            except Exception as error:
                row.row.error = error


def _one_or_all(values: list[int]) -> mx.array:
    """(1,) if all are equal, else (P,) int32."""
    return mx.array(values[:1] if len(set(values)) == 1 else values, dtype=mx.int32)
