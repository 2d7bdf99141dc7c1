"""A sentence that is decoded block by block, a pass at a time."""

from __future__ import annotations

from functools import partial

import mlx.core as mx
import numpy as np

from ...errors import CheckpointError
from ...runtime import device
from ...runtime.parallel import prefill_threads
from ..decoder.cache import KVCache
from .cache import BlockCache
from .requests import BlockStep, FlashRequest
from .schedule import table
from .scores import Proposal, position_noise, propose, select
from .writer import BlockWriter


class BlockRow:
    """The state of a sentence between passes.

    Each block takes some passes over what is decided of it, each of which decides more, and one
    over the whole, whose keys and values stay. The caller makes the passes, for this row alone or
    with others: `block` is what goes through the layers, `take` goes on from what comes out.

    Attributes:
        request: what was asked for.
        width: positions of a whole block.
        cache: its slots.
        passes: those that were made.
        end: "stop" token, "limit" or "watch"; "" as long as it goes on.
    """

    def __init__(self, writer: BlockWriter, request: FlashRequest, log_prior: mx.array | None):
        """Read the text.

        Args:
            log_prior: (V,); None: each block's own.
        """
        request.check(writer.t3)
        self._writer, self.request = writer, request
        self.width, self.passes, self.end = request.block_size, 0, ""
        self._sampling, self._draws = request.sampling, request.own_draws()
        self._log_prior = log_prior
        is_guided = self._sampling.rows == 2
        with prefill_threads(writer.t3.is_small):
            conditioning = request.conditioning
            if not isinstance(conditioning, KVCache):
                conditioning = writer.t3.conditioning_cache(conditioning)
            self._before, past = writer.prefill(conditioning, request.text_tokens, is_guided)
            if device.on_cpu():
                mx.eval(self._before, past.keys, past.values)
        self.cache = BlockCache(past)
        self._begin(0)

    def _begin(self, number: int) -> None:
        """Begin a block, of which nothing is decided."""
        length = min(self.width, self.request.limit - number * self.width)
        self._number, self._is_final = number, False
        self._table = table(length, self._sampling)
        self._step = self._next(0)
        self.block = mx.full((length,), self._writer.t3.config.mask_token, dtype=mx.int32)
        self._are_numbers = mx.array(True)
        self.cache.make_room_for(length)

    def _next(self, step: int) -> int:
        """The first step from this one on that decides something."""
        while step < len(self._table) and not self._table[step]:
            step += 1
        return step

    @property
    def _looks_often(self) -> bool:
        """True if each step is waited for.

        Tokens before the first stop token do not depend on it: steps that were made in vain decide
        only what comes after. On a GPU waiting costs more than these.
        """
        return device.on_cpu() or self._sampling.upstream_exact

    def take(self, hidden: mx.array) -> list[int]:
        """Go on after a pass over `block`, (n, T, C).

        Returns:
            The tokens of a block that is finished, up to the stop token; nothing as long as it is
            not. Those of 6561 and over have no sound.

        Raises:
            CheckpointError: the model predicts NaN.
        """
        self.passes += 1
        if self._is_final:
            self.cache.commit(self.block.shape[0])
            self._before = hidden[:, -1]
            self._begin(self._number + 1)
            return []
        self._decide(self._writer.logits(self._before, hidden))
        self._step = self._next(self._step + 1)
        is_last = self._step >= len(self._table)
        if not (is_last or self._looks_often):
            mx.async_eval(self.block)
            return []
        tokens = self._read()
        if not (is_last or self._is_over(tokens)):
            return []
        stop = self._writer.t3.config.stop_speech_token
        if stop in tokens:
            self.end = "stop"
            return tokens[: tokens.index(stop)]
        if (self._number + 1) * self.width >= self.request.limit:
            self.end = "limit"
        self._is_final = True
        return tokens

    def _decide(self, logits: mx.array) -> None:
        """Decide positions from logits, (n, T, V)."""
        before, length = self.block, self.block.shape[0]
        proposal = self._propose(logits)
        if self._log_prior is None and self._keeps_first_prior:
            self._log_prior = proposal.log_prior
        ranked = proposal.scores
        size = self._sampling.position_temperature
        if size > 0:
            noise = position_noise(self._draws.positions(self._number, self._step, length))
            ranked = ranked + (1.0 if self._sampling.upstream_exact else size) * noise
        is_masked = before == self._writer.t3.config.mask_token
        chosen = select(ranked, is_masked, self._table[self._step])
        self.block = mx.where(chosen, proposal.tokens, before)
        is_nan = mx.isnan(proposal.guided).any() | mx.isnan(proposal.scores).any()
        self._are_numbers = self._are_numbers & ~is_nan
        if self.request.on_step is not None:
            arrays = (before, proposal.tokens, proposal.information, proposal.scores, self.block)
            self.request.on_step(BlockStep(self._number, self._step, *map(np.array, arrays)))

    @property
    def _keeps_first_prior(self) -> bool:
        return self._sampling.upstream_exact and self._sampling.rows == 1

    def _propose(self, logits: mx.array) -> Proposal:
        """See `propose`; a position's noise follows from its block, step and place."""
        sampling, length = self._sampling, logits.shape[1]
        noise = None
        if sampling.temperature > 0:
            noise = self._draws.tokens(self._number, self._step, length, self._writer.vocabulary)
        drawn = partial(propose, logits, self._log_prior, sampling.cfg_scale)
        return drawn(sampling.temperature, noise)

    def _read(self) -> list[int]:
        mx.eval(self.block, self._are_numbers)
        if not self._are_numbers.item():
            raise CheckpointError(
                "the model's predictions are not numbers (NaN): its weights are damaged, or too "
                "large for their type; convert it again, or to float32."
            )
        return self.block.tolist()  # type: ignore[return-value]

    def _is_over(self, tokens: list[int]) -> bool:
        """Tell whether a stop token ends a block that has masks.

        Upstream ends it at once; what is masked before the stop token would be lost.
        """
        config = self._writer.t3.config
        if config.stop_speech_token not in tokens:
            return False
        stop = tokens.index(config.stop_speech_token)
        return self._sampling.upstream_exact or config.mask_token not in tokens[:stop]
