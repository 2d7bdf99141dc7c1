"""Base of the ways to step blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from ...runtime import device
from ..decoder.rows import Progress
from ..decoder.steppers import Stepper, Written
from ..t3.config import T3Config
from ..t3.t3 import T3
from .draws import Draws, KeyedDraws
from .rows import BlockRow
from .scores import Proposal
from .sentences import BlockStep, FlashSentence


@dataclass(frozen=True, eq=False)
class Finished:
    """A block that was decided.

    Attributes:
        tokens: (T,), or those of several sentences (S, T).
        are_numbers: () or (S,) bool.
        place: among several.
        passes: that were made of its sentence by then.
    """

    tokens: mx.array
    are_numbers: mx.array
    length: int
    passes: int
    place: int | None = None

    def read(self) -> list[Written]:
        """Its tokens; one that is none where the predictions are not numbers."""
        tokens, are_numbers = np.asarray(self.tokens), np.asarray(self.are_numbers)
        if self.place is not None:
            tokens, are_numbers = tokens[self.place], are_numbers[self.place]
        if not are_numbers:
            return [Written(None)] * self.length
        return [Written(token) for token in tokens[: self.length].tolist()]


class BlocksStepper(Stepper):
    """Base of the ways to step blocks, which says when a block's tokens are read.

    On a GPU they are read when the pass after is queued.
    """

    def __init__(self, network: T3):
        super().__init__(network)
        self._t3 = network
        self._places: dict[Progress, BlockRow] = {}
        self._finished: dict[Progress, list[Finished]] = {}
        self._unread: dict[Progress, list[Written]] = {}

    def _add(self, row: Progress) -> BlockRow:
        """Begin a row, whose first blocks are known if it was preempted."""
        place = self._places[row] = BlockRow(request_of(row), row.replay)
        self._finished[row], self._unread[row] = [], []
        self._take_known(row)
        return place

    def _take_known(self, row: Progress) -> None:
        known = self._places[row].known
        self._unread[row] += map(Written, known)
        row.drawn += len(known)

    def _go_on(self, row: Progress) -> bool:
        """Go on after a pass; True if it was the last step of a block."""
        is_decided = self._places[row].go_on()
        self._take_known(row)
        return is_decided

    def _keep(self, row: Progress, finished: Finished) -> None:
        self._finished[row].append(finished)
        row.drawn += finished.length

    def looks_often(self, row: Progress) -> bool:
        """True if each step is waited for.

        Tokens before the first stop token do not depend on it: steps that were made in vain decide
        only what comes after. On a GPU waiting costs more than these.
        """
        return device.on_cpu() or request_of(row).sampling.upstream_exact

    def leave(self, rows: Sequence[Progress]) -> None:
        for row in rows:
            for own in (self._places, self._finished, self._unread):
                own.pop(row, None)

    def may_advance(self, row: Progress) -> bool:
        return len(self._finished[row]) <= (0 if self.looks_often(row) else 1)

    def readable(self, row: Progress) -> int:
        if self._finished[row]:
            oldest = self._finished[row][0]
            is_alone = self._places[row].passes == oldest.passes
            if not (is_alone and row.has_more) or self.looks_often(row):
                self._unread[row] += self._finished[row].pop(0).read()
        return len(self._unread[row])

    def read(self, rows: Sequence[Progress]) -> list[Written]:
        return [self._unread[row].pop(0) for row in rows]


def request_of(row: Progress) -> FlashSentence:
    """The request of a row of blocks."""
    return row.request  # type: ignore[return-value]


def draws_of(row: Progress) -> Draws:
    """The request's own draws, or those of the row's keys."""
    own = request_of(row).draws
    return KeyedDraws(row.keys) if own is None else own


def show_step(
    row: Progress, place: BlockRow, before: mx.array, proposal: Proposal, after: mx.array
) -> None:
    """Call a row's `on_step` and `on_logits`, each of which may raise: then its row fails.

    Args:
        place: that of the step that was just made.
        before, after: (T,)
    """
    request = request_of(row)
    if request.on_step is not None and row.row.error is None:
        arrays = (before, proposal.tokens, proposal.information, proposal.scores, after)
        try:
            request.on_step(BlockStep(place.number, place.step, *map(np.array, arrays)))
        except Exception as error:
            row.row.error = error
    if request.on_logits is not None and row.row.error is None:
        try:
            request.on_logits(place.deciding, np.array(proposal.guided))
        except Exception as error:
            row.row.error = error


def is_over(row: Progress, tokens: list[int], config: T3Config) -> bool:
    """Tell whether a stop token ends a block that has masks.

    Upstream ends it at once; what is masked before the stop token would be lost.
    """
    if config.stop_speech_token not in tokens:
        return False
    stop = tokens.index(config.stop_speech_token)
    is_exact = request_of(row).sampling.upstream_exact
    return is_exact or config.mask_token not in tokens[:stop]
