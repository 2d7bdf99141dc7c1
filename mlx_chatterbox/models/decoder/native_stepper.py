"""Steps in C, which are made when they are asked for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import partial

import mlx.core as mx
import numpy as np

from .cache import KVCache, RowCache
from .native_step import MOST_ROWS, NativeStep, repeated
from .network import DecoderNetwork
from .rows import Progress
from .sampler import Sampler, Token
from .sampling import gumbel_noise
from .steppers import Stepper, Written, groups_of, guidance, guide, own_slots, show_logits

# Numbers of noise that are drawn at a time.
_NOISE_AT_ONCE = 1 << 16


class _OwnCache:
    """State of a row that has slots of its own."""

    def __init__(self, past: KVCache, sampler: Sampler):
        self.cache = RowCache(past)
        self.memory = sampler.first_memory()
        self.token: Token = 0
        self.unread: list[Written] = []
        # Of the draws from number `noise_first` on, (n, V) or (n, W, V).
        self.noise = np.zeros((0, *sampler.shape, sampler.vocabulary), dtype=np.float32)
        self.noise_first = 0

    def noise_of(self, draw: int) -> np.ndarray:
        """(V,) or (W, V)"""
        return self.noise[draw - self.noise_first]


class NativeStepper(Stepper):
    """Steps in C, of at most `MOST_ROWS` product rows at a time."""

    is_queued = False

    def __init__(self, network: DecoderNetwork, step: NativeStep):
        super().__init__(network)
        self._step = step
        self._own: dict[Progress, _OwnCache] = {}

    def join(self, row: Progress, logits: mx.array, hidden: mx.array, past: KVCache) -> None:
        own = self._own[row] = _OwnCache(past, self._sampler)
        predicted = np.array(logits), np.array(hidden.astype(mx.float32))
        # The prompt's own arrays are held by nothing else from here on.
        mx.eval(own.cache.keys, own.cache.values)
        self._draw([row], *self._guided([row], *predicted))

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
            predicted = self._step(tokens, positions, [own.cache for own in owns])
            self._draw(group, *self._guided(group, *predicted))

    def read(self, rows: Sequence[Progress]) -> list[Written]:
        return [self._own[row].unread.pop(0) for row in rows]

    @property
    def slots(self) -> int:
        return sum(own.cache.rows * own.cache.capacity for own in self._own.values())

    def slots_after_step(self, rows: Sequence[Progress], joining: tuple[int, int] = (0, 0)) -> int:
        return own_slots([self._own[row].cache for row in rows], joining)

    def _guided(
        self, rows: Sequence[Progress], logits: np.ndarray, hidden: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        if len(logits) == len(rows):
            return logits, hidden
        first, second, weights = guidance(rows)
        return guide(logits[first], logits[second], weights), hidden[first]

    def _draw(self, rows: Sequence[Progress], logits: np.ndarray, hidden: np.ndarray) -> None:
        """Draw from guided logits, (S, V) or (S, W, V)."""
        sampler, owns = self._sampler, [self._own[row] for row in rows]
        show_logits(rows, logits)
        is_number = ~np.isnan(logits.reshape(len(rows), -1).max(axis=-1))
        drawn = np.zeros((len(rows), *sampler.shape), dtype=np.int64)
        memory = _stacked([own.memory for own in owns])
        for alike, some in self._together(rows).items():
            is_all = len(some) == len(rows)
            processed = sampler.process(
                logits if is_all else logits[some], memory if is_all else memory[some], alike
            )
            noise = partial(self._noise, [rows[i] for i in some])
            drawn[some] = sampler.choose(processed, noise, alike)
        for i, row in enumerate(rows):
            if row.forced is not None:
                drawn[i] = row.forced
        memory = sampler.remember(memory, drawn, [row.drawn for row in rows])
        keeps = self._network.keeps_hidden
        for i, (row, own) in enumerate(zip(rows, owns, strict=True)):
            token = drawn[i].tolist()
            own.memory, own.token = memory[i], tuple(token) if sampler.shape else token
            kept = hidden[i].copy() if keeps else None
            own.unread.append(Written(own.token if is_number[i] else None, kept))
            row.drawn += 1

    def _noise(self, rows: Sequence[Progress]) -> np.ndarray:
        """Gumbel noise for the rows' next draws, drawn for some at a time."""
        vocabulary, numbers = self._sampler.vocabulary, self._sampler.numbers or 1
        owns = [self._own[row] for row in rows]
        due = [
            (row, own)
            for row, own in zip(rows, owns, strict=True)
            if row.drawn - own.noise_first >= len(own.noise)
        ]
        # A row that joins others will need it as often as they do.
        at_a_time = vocabulary * numbers * max(len(due), len(self._own))
        ahead = max(1, _NOISE_AT_ONCE // at_a_time)
        by_count = defaultdict(list)
        for row, own in due:
            by_count[min(ahead, len(row.keys) - row.drawn)].append((row, own))
        for count, some in by_count.items():
            keys = np.stack([row.keys[row.drawn : row.drawn + count] for row, _ in some])
            made = np.array(gumbel_noise(mx.array(keys), vocabulary))
            for (row, own), noise in zip(some, made, strict=True):
                own.noise, own.noise_first = noise, row.drawn
        return _stacked([own.noise_of(row.drawn) for row, own in zip(rows, owns, strict=True)])


def _stacked(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Stack arrays, (n, ...); one is not copied."""
    return arrays[0][None] if len(arrays) == 1 else np.stack(arrays)
