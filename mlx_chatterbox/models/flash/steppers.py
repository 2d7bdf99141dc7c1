"""Passes over blocks for the decoding engine, and the way that suits a device.

A pass takes the blocks of several sentences, each at a step of its own. In `BlockStepper` each
sentence has slots of its own, and what is decided is computed sentence by sentence: so its tokens
are the same in any company where the rows of a product do not depend on their number, in C, and
with one sentence a pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import mlx.core as mx
import numpy as np

from ...runtime import device
from ..decoder.cache import KVCache, rounded_capacity
from ..decoder.rows import Progress
from ..t3.t3 import T3
from .cache import BlockCache
from .prior import prior_memory
from .scores import Proposal, position_noise, propose, select
from .shared_stepper import SharedBlockStepper
from .stepping import BlocksStepper, Finished, draws_of, is_over, request_of, show_step
from .writer import BlockWriter

# Sentences of a pass that MLX makes.
SENTENCES_TOGETHER = 8


@dataclass(eq=False)
class _Draft:
    """The decided part of a sentence's block, and all that it is decided by.

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
        for width, alike in by_width.items():
            most = self._writer.sentences(self._sentences, width)
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
        elif not is_finished and is_over(row, np.array(draft.block).tolist(), self._t3.config):
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


def block_stepper_of(t3: T3, mode: str) -> BlocksStepper:
    """The way to step blocks that suits this device.

    Args:
        mode: see `DecodingEngine`.
    """
    if mode == "invariant":
        return BlockStepper(t3, 1)
    return BlockStepper(t3, SENTENCES_TOGETHER) if device.on_cpu() else SharedBlockStepper(t3)
