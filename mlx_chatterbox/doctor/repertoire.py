"""Requests for proofs of batch invariance, and what each of them gives alone.

A schedule (`schedules.py`) lets some of a repertoire's requests share an engine. What each gives
alone is computed once, in an engine of the same mode and width that has nothing else to do.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..models.decoder.cache import CAPACITY_STEP
from ..models.decoder.engine import DecodingEngine
from ..models.decoder.network import DecoderNetwork

# One request in so many is made to fail: it must not disturb the others.
ONE_FAILS = 9
# One request in so many passes the end of the slots that are allocated at first; one in so many
# those of twice as many.
_ONE_GROWS, _ONE_IS_LONG = 3, 12
_MOST_TOKENS = 64


@dataclass(frozen=True)
class AloneRun:
    """One request's results in an engine of its own.

    Attributes:
        end: the row's, e.g. "limit".
        logits: for each draw (V,) or (W, V) float32.
        hidden: of networks that keep it, for each token (C,) float32.
    """

    tokens: list[Any]
    end: str
    logits: list[np.ndarray]
    hidden: list[np.ndarray]


class Repertoire(ABC):
    """Requests of several voices, settings and lengths.

    Args:
        network: of the engines; None where requests bring their own.
        mode, width: of every engine, see `DecodingEngine`.
        tolerance: largest difference of logits; 0 means to the bit, and mode `fast` needs more.

    Attributes:
        requests: all, without callbacks.
    """

    requests: Sequence[Any]

    def __init__(
        self,
        network: DecoderNetwork | None = None,
        mode: str = "invariant",
        width: int = 16,
        tolerance: float = 0.0,
    ):
        self.tolerance = tolerance
        self._network, self._mode, self._width = network, mode, width
        self._alone: dict[tuple[int, bool], AloneRun] = {}

    def engine(
        self, rows: int, positions: int | None = None, prefills: int | None = 1
    ) -> DecodingEngine:
        """Make an engine with these limits."""
        return DecodingEngine(
            self._network, rows=rows, positions=positions, mode=self._mode, width=self._width,
            prefills=prefills,
        )  # fmt: skip

    def request(self, number: int, by_prefix: bool = False, **callbacks) -> Any:
        """Return a request with callbacks.

        Args:
            by_prefix: its voice is a prefix that was computed before, where there is such a thing.
        """
        return replace(self.requests[number], **callbacks)

    def networks(self) -> list[DecoderNetwork]:
        """The networks that write what is asked for."""
        of_requests = [request.network(self._network) for request in self.requests]
        return list({id(network): network for network in of_requests}.values())

    @abstractmethod
    def prompt(self, number: int) -> int:
        """Positions before a request's first token that is drawn."""

    def slots(self, number: int, tokens: int = 0) -> int:
        """Slots that a request has allocated at least when so many of its tokens are written."""
        request = self.requests[number]
        rows = 2 if request.weight(request.network(self._network)) > 0 else 1
        return rows * CAPACITY_STEP * -(-(self.prompt(number) + tokens) // CAPACITY_STEP)

    def most_slots(self, number: int) -> int:
        """Slots that a request has allocated at most."""
        return self.slots(number, self.requests[number].max_new_tokens + 1)

    def alone(self, number: int, by_prefix: bool = False) -> AloneRun:
        """Return what a request gives by itself.

        Args:
            by_prefix: see `request`. A prefix that was computed elsewhere may be rounded otherwise.
        """
        asked = number, by_prefix
        if asked not in self._alone:
            logits: list[np.ndarray] = []

            def keep(index: int, row: np.ndarray) -> None:
                assert index == len(logits), f"logits {index} come after {len(logits) - 1}"
                logits.append(np.array(row, np.float32))

            engine = self.engine(rows=1)
            row = engine.join(self.request(number, by_prefix, on_logits=keep))
            engine.run_until_idle()
            self._alone[asked] = AloneRun(list(row.tokens), row.end, logits, list(row.hidden))
        return self._alone[asked]


def drawn_sizes(
    number: int, draw: np.random.Generator, has_long: bool, most_before: int
) -> tuple[int, int]:
    """Draw a request's limit, and the length of its text.

    Args:
        has_long: some requests go beyond 512 slots.
        most_before: positions of a prompt beside its text.
    """
    limit = int(draw.integers(1, _MOST_TOKENS))
    length = int(draw.integers(1, 24))
    if number % _ONE_GROWS == 1:
        # It begins a little before the end of the slots that are allocated.
        is_long = has_long and number % _ONE_IS_LONG == 1
        limit = int(draw.integers(_MOST_TOKENS // 3, _MOST_TOKENS))
        length = CAPACITY_STEP * (1 + is_long) - most_before - int(draw.integers(4, 16))
    return limit, length
