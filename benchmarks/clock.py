"""A clock of tokens, so that one decoding gives T3's two figures."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from .inputs import DECODED_TOKENS


class PartsClock:
    """Seconds of parts that follow one another, and of the whole."""

    def __init__(self):
        self._started = self._latest = time.perf_counter()
        self._parts: dict[str, float] = {}

    def done(self, part: str) -> None:
        """Note that a part is done."""
        now = time.perf_counter()
        self._parts[part], self._latest = now - self._latest, now

    def seconds(self) -> dict[str, float]:
        """Each part's, and "whole"."""
        return {**self._parts, "whole": self._latest - self._started}


def block_seconds(moments: Sequence[float], size: int, passes: int) -> dict[str, float]:
    """Seconds of a whole block after the first, and of each of its passes.

    Args:
        moments: when each token was known; those of a block at once.
        size: tokens of a block; 1 where each comes alone.
        passes: of a block.
    """
    blocks = len(moments) // size
    seconds = (moments[blocks * size - 1] - moments[size - 1]) / (blocks - 1)
    return {"block": seconds, "pass": seconds / passes}


class TokenClock:
    """Counts from its creation. The same moments are taken of every engine: a token's number has
    reached Python, and what follows it is queued or not yet begun."""

    def __init__(self):
        self._started = time.perf_counter()
        self._known: list[float] = []

    def tick(self) -> None:
        """Note that a token is known."""
        self._known.append(time.perf_counter())

    def seconds(self) -> dict[str, float]:
        """The first token's time, and each further one's.

        Raises:
            RuntimeError: decoding ended early (the weights are made up, so is when they stop).
        """
        expected = 1 + DECODED_TOKENS
        if len(self._known) != expected:
            raise RuntimeError(f"T3 stopped after {len(self._known)} of {expected} tokens")
        first, last = self._known[0], self._known[-1]
        return {
            "t3_prefill": first - self._started,
            "t3_token": (last - first) / DECODED_TOKENS,
        }


def watch_positions(t3, clock: TokenClock) -> Callable[[], None]:
    """Tick whenever a token's position is looked up; returns what ends that.

    Upstream's loop and mlx-audio's alike ask `speech_pos_emb.get_fixed_embedding(i + 1)` right
    after token i was read, and for position 0 before the first.
    """
    table = t3.speech_pos_emb
    original = table.get_fixed_embedding

    def watched(position):
        if position > 0:
            clock.tick()
        return original(position)

    table.get_fixed_embedding = watched
    return lambda: delattr(table, "get_fixed_embedding")
