"""Passes over blocks for the decoding engine, each sentence in slots of its own.

A pass takes the blocks of several sentences, each at a step of its own, and what they decide of
them is computed sentence by sentence. So a sentence's tokens are the same in any company where the
rows of a product do not depend on their number: in C, and with one sentence a pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import mlx.core as mx
import numpy as np

from ...runtime import device
from ..decoder.cache import KVCache, rounded_capacity
from ..decoder.rows import Progress
from ..decoder.steppers import Stepper, Written
from ..t3.t3 import T3
from .cache import BlockCache
from .draws import Draws, KeyedDraws
from .prior import prior_memory
from .rows import BlockRow, BlockStep
from .scores import Proposal, position_noise, propose, select
from .writer import BlockWriter

if TYPE_CHECKING:
    from .requests import FlashRequest

# Sentences of a pass that MLX makes.
SENTENCES_TOGETHER = 8


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
    """What the ways to step blocks have in common: when a block's tokens are read.

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


@dataclass(eq=False)
class _Draft:
    """What is decided of a sentence's block, and what it is decided by.

    Attributes:
        cache: the slots of its rows.
        before: (n, C), what its first position is predicted from.
        first: (n, 1, V), that prediction.
        log_prior: (V,), or of `Proposal`; None: that of each step.
        block: (T,) tokens.
        are_numbers: false if predictions were not.
    """

    cache: BlockCache
    before: mx.array
    first: mx.array
    log_prior: mx.array | None
    block: mx.array = field(init=False)
    are_numbers: mx.array = field(init=False)


class BlockStepper(BlocksStepper):
    """Passes in C or by MLX, attention and decisions of each sentence by itself.

    Args:
        sentences: most of a pass that MLX makes.
    """

    def __init__(self, network: T3, sentences: int):
        super().__init__(network)
        self._writer, self._sentences = BlockWriter(network), sentences
        self._drafts: dict[Progress, _Draft] = {}

    def join(self, row: Progress, logits: mx.array, hidden: mx.array, past: KVCache) -> None:
        request, prior = request_of(row), None
        if request.sampling.prior_precompute:
            prior = prior_memory(self._t3).log_prior(self._writer, request.block_size)
        draft = _Draft(BlockCache(past), hidden, logits[:, None], prior)
        # The prompt's own arrays are held by nothing else from here on.
        mx.async_eval(draft.cache.keys, draft.cache.values)
        self._drafts[row] = draft
        self._add(row)
        self._begin(row)

    def _begin(self, row: Progress) -> None:
        place, draft = self._places[row], self._drafts[row]
        mask = [self._t3.config.mask_token] * place.length
        draft.block = mx.array(place.known or mask, dtype=mx.int32)
        draft.are_numbers = mx.array(True)

    def leave(self, rows: Sequence[Progress]) -> None:
        super().leave(rows)
        for row in rows:
            self._drafts.pop(row, None)

    @property
    def slots(self) -> int:
        caches = [draft.cache for draft in self._drafts.values()]
        return sum(cache.rows * cache.capacity for cache in caches)

    def slots_after_step(self, rows: Sequence[Progress], joining: tuple[int, int] = (0, 0)) -> int:
        count, slots = joining
        total = count * rounded_capacity(slots)
        for row in rows:
            cache = self._drafts[row].cache
            need = rounded_capacity(cache.used + self._places[row].length)
            total += cache.rows * max(cache.capacity, need)
        return total

    def advance(self, rows: Sequence[Progress]) -> None:
        by_width: dict[int, list[Progress]] = {}
        for row in rows:
            by_width.setdefault(self._places[row].width, []).append(row)
        most = self._writer.sentences(self._sentences)
        for width, alike in by_width.items():
            for first in range(0, len(alike), most):
                self._pass(alike[first : first + most], width)

    def _pass(self, rows: Sequence[Progress], width: int) -> None:
        drafts = [self._drafts[row] for row in rows]
        for row, draft in zip(rows, drafts, strict=True):
            draft.cache.make_room_for(self._places[row].length)
        blocks, caches = [one.block for one in drafts], [one.cache for one in drafts]
        for row, hidden in zip(rows, self._writer.run(blocks, caches, width), strict=True):
            self._take(row, hidden)

    def _take(self, row: Progress, hidden: mx.array) -> None:
        """Go on after a pass over a row's block, (n, T, C)."""
        place, draft = self._places[row], self._drafts[row]
        if place.is_whole:
            draft.cache.commit(place.length)
            draft.before = hidden[:, -1]
            draft.first = self._t3.predict(hidden[:, -1:])
            self._go_on(row)
            self._begin(row)
            return
        self._decide(row, hidden)
        is_finished = self._go_on(row)
        if not self.looks_often(row):
            mx.async_eval(draft.block, draft.are_numbers)
        elif not is_finished and self._is_over(row, np.array(draft.block).tolist()):
            place.finish()
            is_finished = True
        if is_finished:
            decided = Finished(draft.block, draft.are_numbers, place.length, place.passes)
            self._keep(row, decided)

    def _decide(self, row: Progress, hidden: mx.array) -> None:
        """Decide positions of a row's block."""
        place, draft, request = self._places[row], self._drafts[row], request_of(row)
        logits = draft.first
        if place.length > 1:
            logits = mx.concatenate([logits, self._t3.predict(hidden[:, :-1])], axis=1)
        before, proposal = draft.block, self._propose(row, logits)
        if draft.log_prior is None and request.sampling.keeps_first_prior:
            draft.log_prior = proposal.log_prior
        ranked, size = proposal.scores, request.sampling.noise_of_positions
        if size > 0:
            uniform = draws_of(row).positions(place.number, place.step, place.length)
            ranked = ranked + size * position_noise(uniform)
        chosen = select(ranked, before == self._t3.config.mask_token, place.count)
        draft.block = mx.where(chosen, proposal.tokens, before)
        is_nan = mx.isnan(proposal.guided).any() | mx.isnan(proposal.scores).any()
        draft.are_numbers = draft.are_numbers & ~is_nan
        show_step(row, place, before, proposal, draft.block)

    def _propose(self, row: Progress, logits: mx.array) -> Proposal:
        """See `propose`; a position's noise follows from its block, step and place."""
        place, draft, sampling = self._places[row], self._drafts[row], request_of(row).sampling
        noise, vocabulary = None, logits.shape[-1]
        if sampling.temperature > 0:
            noise = draws_of(row).tokens(place.number, place.step, place.length, vocabulary)
        drawn = partial(propose, logits, draft.log_prior, sampling.cfg_scale)
        return drawn(sampling.temperature, noise)

    def _is_over(self, row: Progress, tokens: list[int]) -> bool:
        """Tell whether a stop token ends a block that has masks.

        Upstream ends it at once; what is masked before the stop token would be lost.
        """
        config = self._t3.config
        if config.stop_speech_token not in tokens:
            return False
        stop = tokens.index(config.stop_speech_token)
        is_exact = request_of(row).sampling.upstream_exact
        return is_exact or config.mask_token not in tokens[:stop]


def request_of(row: Progress) -> FlashRequest:
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


def block_stepper_of(t3: T3, mode: str) -> Stepper:
    """The way to step blocks that suits this device."""
    if mode == "invariant":
        return BlockStepper(t3, 1)
    return BlockStepper(t3, SENTENCES_TOGETHER)
