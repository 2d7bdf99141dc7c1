"""The place of a sentence in its blocks: which pass comes next, and what comes of it."""

from __future__ import annotations

from collections.abc import Sequence

from .schedule import table
from .sentences import FlashSentence


class BlockRow:
    """The place of a sentence between passes.

    Each block takes some passes over what is decided of it, each of which decides more, and one
    over the whole, whose keys and values stay.

    Attributes:
        request: what was asked for.
        width: positions of a whole block.
        number: of the block, from 0.
        length: its positions; the last block may be short.
        step: of the next pass, from 0; draws are keyed by it.
        is_whole: True if the next pass is over the whole block, to keep it.
        known: its tokens if they were delivered before the row was preempted, or none.
        passes: those that were made.
    """

    def __init__(self, request: FlashSentence, known: Sequence[int] = ()):
        self.request, self.width, self.passes = request, request.block_size, 0
        self._known = list(known)
        self._begin(0)

    def _begin(self, number: int) -> None:
        first = number * self.width
        self.number, self.length = number, min(self.width, self.request.max_new_tokens - first)
        self.known = self._known[first : first + self.length]
        self.is_whole = bool(self.known)
        self._table = table(self.length, self.request.sampling)
        self.step = self._next(0)

    def _next(self, step: int) -> int:
        """The first step from this one on that decides something."""
        while step < len(self._table) and not self._table[step]:
            step += 1
        return step

    @property
    def count(self) -> int:
        """Positions that the next pass decides; 0 for the one over the whole block."""
        return 0 if self.is_whole else self._table[self.step]

    @property
    def deciding(self) -> int:
        """The number of the next deciding pass among all of the sentence, from 0."""
        whole = sum(map(bool, table(self.width, self.request.sampling)))
        return self.number * whole + sum(map(bool, self._table[: self.step]))

    def go_on(self) -> bool:
        """Go on after a pass; True if it was the last step of a block."""
        self.passes += 1
        if self.is_whole:
            self._begin(self.number + 1)
            return False
        self.step = self._next(self.step + 1)
        if self.step < len(self._table):
            return False
        self.is_whole = True
        return True

    def finish(self) -> None:
        """Take the block as it is: what is decided suffices."""
        self.is_whole = True
