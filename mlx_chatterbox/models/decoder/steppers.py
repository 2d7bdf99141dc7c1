"""Steps of decoding: one more token for every running row of a network, in C or by MLX.

Three ways, which the engine chooses among (`engine.py`):

* `NativeStepper` (`native_stepper.py`): in C. Each row's logits are the same to the bit with any
  company.
* `SharedStepper` (`queued_steppers.py`): by MLX, all rows in one array a layer; fast, and up to
  rounding.
* `ApartStepper` (there): by MLX, to the bit: products of one number of rows at all times, and
  attention of each row by itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import mlx.core as mx
import numpy as np

from .cache import KVCache, RowCache, rounded_capacity
from .network import DecoderNetwork
from .rows import Progress
from .sampler import Token
from .sampling import Array


@dataclass(frozen=True)
class Written:
    """A token that a step wrote in a row.

    Attributes:
        token: None where the logits are not numbers.
        hidden: what the logits follow from, (C,) float32, of networks that keep it.
    """

    token: Token | None
    hidden: np.ndarray | None = None


class Stepper(ABC):
    """Steps the rows of an engine that belong to one network.

    Attributes:
        is_queued: True if `advance` queues a step, whose tokens are read after the next is queued.
    """

    is_queued = False

    def __init__(self, network: DecoderNetwork):
        self._network, self._sampler = network, network.sampler

    @abstractmethod
    def join(self, row: Progress, logits: mx.array, hidden: mx.array, past: KVCache) -> None:
        """Take a row after its prefill, and draw its first token.

        Args:
            logits: (n, V) or (n, W, V) float32, that with text first.
            hidden: (n, C), what they follow from.
            past: keys and values of its n rows.
        """

    @abstractmethod
    def leave(self, rows: Sequence[Progress]) -> None:
        """Drop rows, and free their memory; also of those whose `join` failed."""

    @abstractmethod
    def advance(self, rows: Sequence[Progress]) -> None:
        """Draw one more token for each of some rows."""

    def may_advance(self, row: Progress) -> bool:
        """Tell whether a row that has more to draw can do so before more of it is read."""
        return row.drawn - row.read <= (1 if self.is_queued else 0)

    def readable(self, row: Progress) -> int:
        """The number of a row's tokens that can be read now."""
        return min(1, row.drawn - row.read)

    @abstractmethod
    def read(self, rows: Sequence[Progress]) -> list[Written]:
        """The oldest of each row that was not read."""

    @property
    @abstractmethod
    def slots(self) -> int:
        """Slots that are allocated, in all product rows."""

    @abstractmethod
    def slots_after_step(self, rows: Sequence[Progress], joining: tuple[int, int] = (0, 0)) -> int:
        """Slots that are allocated, in all product rows, once some rows have made one more step.

        Args:
            joining: product rows of one more sentence, and its slots after its first step.
        """

    def _together(self, rows: Sequence[Progress]) -> dict[Hashable, list[int]]:
        """Places of rows whose draws are processed by the same operations."""
        places = defaultdict(list)
        for i, row in enumerate(rows):
            places[self._sampler.alike(row.request.sampling, row.drawn)].append(i)
        return places


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


def guidance(rows: Sequence[Progress]) -> tuple[list[int], list[int], np.ndarray]:
    """Places of the logits of each row with and without its text, and its weight, (S, 1)."""
    ends = list(accumulate(row.rows for row in rows))
    first = [end - row.rows for end, row in zip(ends, rows, strict=True)]
    second = [end - 1 for end in ends]
    return first, second, np.array([[row.weight] for row in rows], dtype=np.float32)


def own_slots(caches: Sequence[RowCache], joining: tuple[int, int]) -> int:
    """`Stepper.slots_after_step` where each cache has slots of its own."""
    rows, slots = joining
    own = sum(cache.rows * rounded_capacity(cache.used + 1) for cache in caches)
    return own + rows * rounded_capacity(slots)


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


def show_logits(rows: Sequence[Progress], logits: np.ndarray) -> None:
    """Call the rows' `on_logits`, each of which may raise: then its row fails."""
    if all(row.request.on_logits is None for row in rows):
        return
    for row, guided in zip(rows, logits, strict=True):
        if row.request.on_logits is not None and row.row.error is None:
            try:
                row.request.on_logits(row.drawn, guided)
            except Exception as error:
                row.row.error = error
