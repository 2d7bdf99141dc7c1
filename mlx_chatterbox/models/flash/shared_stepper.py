"""Passes over blocks by MLX with the keys and values of all sentences in one array a layer.

For GPUs: a pass and all that is decided after it is one compiled trace for a block's width, a
number of rows and a capacity. Tentative keys and values are written in place after the committed
ones, and nothing is waited for but the tokens of a block, once the pass after it is queued.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import mlx.core as mx
import numpy as np

from ..decoder.cache import KVCache, SharedCache, attends_to_shared, rounded_capacity
from ..decoder.rows import Progress
from ..t3.t3 import T3
from .draws import POSITIONS, TOKENS, position_draws, token_noise
from .prior import prior_memory
from .rows import BlockRow
from .scores import Proposal, block_prior, position_noise, propose, select
from .stepping import BlocksStepper, Finished, draws_of, is_over, request_of, show_step
from .writer import BlockWriter


class Drafts(NamedTuple):
    """The decided parts of the blocks of S sentences.

    Attributes:
        blocks: (S, T) tokens.
        before: (S, 2, C), what their first positions are predicted from; twice the same without
            guidance.
        are_numbers: (S,) bool, false if predictions were not.
    """

    blocks: mx.array
    before: mx.array
    are_numbers: mx.array


class Places(NamedTuple):
    """The places of S sentences in a step of P product rows, int32.

    Attributes:
        owners: (P,), the sentence of each row.
        starts, last: (P,) or (1,) if all are alike: the slot of the block's first position, and
            the last slot that is seen.
        rows: (S, n), the rows of each sentence, that with text first; twice the same without
            guidance.
        lengths: (S, 1), positions of its block.
        counts: (S, 1), those that are decided.
        is_whole: (S, 1) bool, true where the pass is over a whole block, to keep it.
    """

    owners: mx.array
    starts: mx.array
    last: mx.array
    rows: mx.array
    lengths: mx.array
    counts: mx.array
    is_whole: mx.array


class Rules(NamedTuple):
    """The settings by which S sentences are decided.

    Attributes:
        scales, temperatures: (S, 1, 1)
        sizes: (S, 1), of the noise of positions.
        log_prior: (S, 1, 1, V)
        has_own_prior: (S, 1, 1, 1) bool, true where each step calibrates itself; None if it is so
            for none.
    """

    scales: mx.array
    temperatures: mx.array
    sizes: mx.array
    log_prior: mx.array
    has_own_prior: mx.array | None


class Noise(NamedTuple):
    """Random keys of a step, or what was drawn; None for what nobody needs.

    Attributes:
        tokens: (S, 2) uint32 keys, or (S, T, V) Gumbel noise.
        positions: (S, 2) uint32 keys, or (S, T) numbers from 0 to 1.
    """

    tokens: mx.array | None
    positions: mx.array | None


def pass_over_blocks(
    t3: T3,
    drafts: Drafts,
    places: Places,
    rules: Rules,
    noise: Noise,
    memory: list[mx.array],
    extent: int,
) -> tuple[Drafts, Proposal, list[mx.array]]:
    """Pass blocks through the layers, and decide some of their positions.

    Args:
        memory: see `DecoderNetwork.step`.
        extent: number of slots that are attended to.

    Returns:
        The drafts after it, blocks that are kept replaced by the next ones; what was proposed; the
        memory with the blocks.
    """
    mask, width = t3.config.mask_token, drafts.blocks.shape[1]
    memory, is_there = list(memory), mx.arange(width) < places.lengths
    attends = attends_to_shared(memory, places.starts, extent, t3.dtype, places.last)
    embedded = t3.embed_speech(drafts.blocks[places.owners], 0)
    starts = mx.broadcast_to(places.starts, places.owners.shape)
    hidden = t3.transformer(embedded, starts, attends)[places.rows]
    rows = places.rows.shape[1]
    shifted = mx.concatenate([drafts.before[:, :rows, None], hidden[:, :, :-1]], axis=2)
    logits = t3.predict(shifted)
    log_prior = rules.log_prior
    if rules.has_own_prior is not None:
        log_shares = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
        own = block_prior(log_shares, is_there[:, None, :, None])
        log_prior = mx.where(rules.has_own_prior, own, log_prior)
    drawn = noise.tokens
    if drawn is not None and drawn.dtype == mx.uint32:
        drawn = token_noise(drawn, width, logits.shape[-1])
    proposal = propose(logits, log_prior, rules.scales, rules.temperatures, drawn)
    ranked, uniform = proposal.scores, noise.positions
    if uniform is not None:
        if uniform.dtype == mx.uint32:
            uniform = position_draws(uniform, width)
        ranked = ranked + rules.sizes * position_noise(uniform)
    is_masked = (drafts.blocks == mask) & is_there
    chosen = select(ranked, is_masked, places.counts)
    blocks = mx.where(chosen, proposal.tokens, drafts.blocks)
    is_nan = mx.isnan(proposal.guided).any(axis=-1) | mx.isnan(proposal.scores)
    are_numbers = drafts.are_numbers & ~(is_nan & is_there).any(axis=-1)
    last = mx.broadcast_to(hidden[:, :, -1], drafts.before.shape)
    after = Drafts(
        mx.where(places.is_whole, mask, blocks),
        mx.where(places.is_whole[..., None], last, drafts.before),
        are_numbers,
    )
    return after, proposal, memory


def compiled_pass(t3: T3) -> Callable:
    """`pass_over_blocks`, traced once for every width, number of rows and capacity.

    The weights are inputs of the trace, so it stays right when they are replaced.
    """
    if t3.compiled_pass is None:

        def flat(drafts, places, rules, noise, memory, extent):
            arguments = Drafts(*drafts), Places(*places), Rules(*rules), Noise(*noise)
            after, proposal, written = pass_over_blocks(t3, *arguments, memory, extent)
            return list(after), [getattr(proposal, name) for name in _PROPOSED], written

        compiled = mx.compile(flat, inputs=[t3.state])

        def structured(drafts, places, rules, noise, memory, extent):
            trees = (list(drafts), list(places), list(rules), list(noise))
            after, proposed, written = compiled(*trees, memory, extent)
            return Drafts(*after), Proposal(*proposed), written

        t3.compiled_pass = structured
    return t3.compiled_pass


_PROPOSED = tuple(Proposal.__dataclass_fields__)


@dataclass(frozen=True, eq=False)
class _Held:
    """A sentence's place among drafts."""

    drafts: Drafts
    place: int

    def alone(self) -> Drafts:
        return Drafts(*(array[self.place : self.place + 1] for array in self.drafts))


class SharedBlockStepper(BlocksStepper):
    """Passes by MLX in which all sentences share arrays: fast, and up to rounding."""

    def __init__(self, network: T3):
        super().__init__(network)
        self._writer, self._cache = BlockWriter(network), SharedCache()
        self._rows_of: dict[Progress, list[int]] = {}
        self._held: dict[Progress, _Held] = {}
        # Of each row (V,); None: that of each step.
        self._priors: dict[Progress, mx.array | None] = {}
        self._rules: tuple[list[Progress], Rules] | None = None

    def join(self, row: Progress, logits: mx.array, hidden: mx.array, past: KVCache) -> None:
        request = request_of(row)
        self._priors[row] = None
        if request.sampling.prior_precompute:
            memory = prior_memory(self._t3)
            self._priors[row] = memory.log_prior(self._writer, request.block_size)
        self._rows_of[row] = self._cache.add(past)
        place = self._add(row)
        before = mx.broadcast_to(hidden[None], (1, 2, hidden.shape[-1]))
        self._hold(row, place, before)
        mx.async_eval(self._cache.keys, self._cache.values, before)

    def _hold(self, row: Progress, place: BlockRow, before: mx.array) -> None:
        """Begin a block of a row.

        Args:
            before: (1, 2, C)
        """
        tokens = [*place.known, *[self._t3.config.mask_token] * (place.width - len(place.known))]
        block = mx.array([tokens], dtype=mx.int32)
        self._held[row] = _Held(Drafts(block, before, mx.array([True])), 0)

    def leave(self, rows: Sequence[Progress]) -> None:
        super().leave(rows)
        for row in rows:
            self._held.pop(row, None)
            self._priors.pop(row, None)
        self._rules = None
        gone = [place for row in rows for place in self._rows_of.pop(row, [])]
        kept = self._cache.remove(gone)
        if kept is not None:
            order = {before: now for now, before in enumerate(kept)}
            for row, places in self._rows_of.items():
                self._rows_of[row] = [order[place] for place in places]

    @property
    def slots(self) -> int:
        return len(self._cache.used) * self._cache.capacity

    def slots_after_step(self, rows: Sequence[Progress], joining: tuple[int, int] = (0, 0)) -> int:
        count, most = joining
        for row in rows:
            count += row.rows
            used = max(self._cache.used[place] for place in self._rows_of[row])
            most = max(most, used + self._places[row].width)
        return count * rounded_capacity(most)

    def advance(self, rows: Sequence[Progress]) -> None:
        by_width: dict[int, list[Progress]] = {}
        for row in rows:
            by_width.setdefault(self._places[row].width, []).append(row)
        for width, alike in by_width.items():
            self._pass(alike, width)

    def _pass(self, rows: Sequence[Progress], width: int) -> None:
        cache = self._cache
        # Rows that wait are written to as well, after what they have.
        cache.make_room(max(cache.used) + width)
        make = compiled_pass(self._t3)
        held = self._drafts_of(rows)
        noise, rules = self._noise(rows, width), self._rules_of(rows)
        memory = [*cache.keys, *cache.values]
        drafts, proposal, memory = make(
            held, self._places_of(rows), rules, noise, memory, cache.extent
        )
        kept = [p for row in rows if self._places[row].is_whole for p in self._rows_of[row]]
        cache.take_written(memory, kept, width)
        # Not before: what the cache still held would be copied, and not written in place. The
        # blocks need every layer's keys and values, so they are computed with them.
        mx.async_eval(*drafts)
        for i, row in enumerate(rows):
            self._held[row] = _Held(drafts, i)
            self._take(row, held.blocks, proposal, i)

    def _take(self, row: Progress, before: mx.array, proposal: Proposal, i: int) -> None:
        """Go on after a pass in which a row was sentence `i`."""
        place, drafts = self._places[row], self._held[row].drafts
        if place.is_whole:
            self._go_on(row)
            if place.known:
                self._hold(row, place, self._held[row].alone().before)
            return
        request = request_of(row)
        if request.sampling.keeps_first_prior and self._priors[row] is None:
            self._priors[row] = proposal.log_prior[i, 0, 0]
            self._rules = None
        if request.on_step is not None or request.on_logits is not None:
            cut = slice(None, place.length)
            own = Proposal(
                proposal.guided[i, cut], proposal.tokens[i, cut],
                proposal.information[i, : row.rows, cut], proposal.scores[i, cut],
                proposal.log_prior,
            )  # fmt: skip
            show_step(row, place, before[i, cut], own, drafts.blocks[i, cut])
        is_finished = self._go_on(row)
        if not is_finished and self.looks_often(row):
            tokens = np.array(drafts.blocks[i, : place.length]).tolist()
            if is_over(row, tokens, self._t3.config):
                place.finish()
                is_finished = True
        if is_finished:
            decided = (drafts.blocks, drafts.are_numbers, place.length, place.passes, i)
            self._keep(row, Finished(*decided))

    def _drafts_of(self, rows: Sequence[Progress]) -> Drafts:
        """Those of some rows, in their order."""
        held = [self._held[row] for row in rows]
        drafts = held[0].drafts
        if all(one.drafts is drafts for one in held):
            places = [one.place for one in held]
            if places == list(range(drafts.blocks.shape[0])):
                return drafts
            return Drafts(*(array[mx.array(places)] for array in drafts))
        alone = [one.alone() for one in held]
        return Drafts(*(mx.concatenate(list(arrays)) for arrays in zip(*alone, strict=True)))

    def _places_of(self, rows: Sequence[Progress]) -> Places:
        used = self._cache.used
        # A place of nobody sees its first slot; what comes of it goes nowhere.
        owners, last = [0] * len(used), [max(count, 1) - 1 for count in used]
        for i, row in enumerate(rows):
            for place in self._rows_of[row]:
                owners[place] = i
                last[place] = used[place] + self._places[row].length - 1
        starts = list(used)
        if len(set(last)) == len(set(starts)) == 1:
            starts, last = starts[:1], last[:1]
        most = max(row.rows for row in rows)
        own = [(self._rows_of[row] * 2)[:most] for row in rows]
        at = [self._places[row] for row in rows]
        return Places(
            owners=mx.array(owners, dtype=mx.int32),
            starts=mx.array(starts, dtype=mx.int32),
            last=mx.array(last, dtype=mx.int32),
            rows=mx.array(own, dtype=mx.int32),
            lengths=mx.array([[place.length] for place in at], dtype=mx.int32),
            counts=mx.array([[place.count] for place in at], dtype=mx.int32),
            is_whole=mx.array([[place.is_whole] for place in at]),
        )

    def _rules_of(self, rows: Sequence[Progress]) -> Rules:
        """The rules of some rows, made anew when they are others."""
        if self._rules is not None and self._rules[0] == list(rows):
            return self._rules[1]
        samplings, priors = [request_of(row).sampling for row in rows], []
        own = [self._priors[row] is None for row in rows]
        nothing = mx.zeros((self._writer.vocabulary,))
        for row in rows:
            prior = self._priors[row]
            priors.append(nothing if prior is None else prior)
        column = np.array(
            [[one.cfg_scale, one.temperature, one.noise_of_positions] for one in samplings],
            dtype=np.float32,
        )
        rules = Rules(
            mx.array(column[:, 0, None, None]),
            mx.array(column[:, 1, None, None]),
            mx.array(column[:, 2, None]),
            mx.stack(priors)[:, None, None],
            mx.array(own)[:, None, None, None] if any(own) else None,
        )
        self._rules = (list(rows), rules)
        return rules

    def _noise(self, rows: Sequence[Progress], width: int) -> Noise:
        """Noise for the next step of some rows."""
        samplings = [request_of(row).sampling for row in rows]
        wanted = (
            any(one.temperature > 0 for one in samplings),
            any(one.noise_of_positions > 0 for one in samplings),
        )
        if all(request_of(row).draws is None for row in rows):
            keys = np.stack([self._keys(row) for row in rows])
            of_tokens, of_positions = (mx.array(keys[:, kind]) for kind in (TOKENS, POSITIONS))
            return Noise(of_tokens if wanted[0] else None, of_positions if wanted[1] else None)
        drawn = [self._drawn(row, width) for row in rows]
        return Noise(
            mx.stack([one for one, _ in drawn]) if wanted[0] else None,
            mx.stack([one for _, one in drawn]) if wanted[1] else None,
        )

    def _keys(self, row: Progress) -> np.ndarray:
        """Those of the next step, (2, 2); any where nothing is decided."""
        place = self._places[row]
        return row.keys[place.number, 0 if place.is_whole else place.step]

    def _drawn(self, row: Progress, width: int) -> tuple[mx.array, mx.array]:
        """Noise (T, V) and numbers (T,) of the request's own draws; zeros where it has none."""
        place, request, vocabulary = self._places[row], request_of(row), self._writer.vocabulary
        of_tokens, of_positions = mx.zeros((width, vocabulary)), mx.zeros((width,))
        draws = draws_of(row)
        if place.is_whole:
            return of_tokens, of_positions
        missing = width - place.length
        if request.sampling.temperature > 0:
            drawn = draws.tokens(place.number, place.step, place.length, vocabulary)
            of_tokens = mx.pad(drawn, [(0, missing), (0, 0)])
        if request.sampling.noise_of_positions > 0:
            drawn = draws.positions(place.number, place.step, place.length)
            of_positions = mx.pad(drawn, [(0, missing)])
        return of_tokens, of_positions
