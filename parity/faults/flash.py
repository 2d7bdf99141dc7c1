"""Faults of Flash's blocks: decoding that is nearly right."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import wraps

import mlx.core as mx

from mlx_chatterbox.models.flash import cache, schedule, scores, steppers, writer
from mlx_chatterbox.nn.attention import mask_bias

from ..mlx import flash as stage
from ..tables.stage import FLASH
from .fault import Fault, Patches


def _prior_of_the_next_position(patches: Patches) -> None:
    def log_prior(self, block_size: int) -> mx.array:
        config = self.t3.config
        tokens = [config.start_speech_token] + [config.mask_token] * block_size
        hidden, _ = self.t3.hidden_states(self.t3.embed_speech(mx.array([tokens]), 0))
        return mx.log(mx.softmax(self.t3.predict(hidden[0, 1:]), axis=-1).mean(axis=0))

    patches.set(writer.BlockWriter, "log_prior", log_prior)


def _early_first(patches: Patches) -> None:
    exact = schedule.reaching_quantile

    def reversed_quantile(masked: int, step: int, steps: int, tau: float) -> int:
        return exact(masked, steps - 1 - step, steps, tau)

    patches.set(schedule, "reaching_quantile", reversed_quantile)
    schedule.table.cache_clear()
    patches.at_the_end(schedule.table.cache_clear)


def _scores_without_guidance(patches: Patches) -> None:
    for owner in (scores, steppers, stage):
        exact = owner.propose

        @wraps(exact)
        def propose(*args, exact=exact, **settings):
            proposal = exact(*args, **settings)
            return replace(proposal, scores=proposal.information[0])

        patches.set(owner, "propose", propose)


def _drafts_kept(patches: Patches) -> None:
    """Append a block's keys at each pass, and see those of the passes before."""
    cached = cache.BlockCache
    exact, commit = cached.attends_to_block, cached.commit

    def attends_to_block(self, positions: int):
        used, drafts = self.used, getattr(self, "drafts", 0)
        self.used = used + drafts
        self.make_room_for(positions)
        attends = exact(self, positions)
        self.used, self.drafts = used, drafts + positions
        return attends

    def keep(self, positions: int) -> None:
        # What counts is where the last pass wrote; positions go on from it as they should.
        commit(self, positions)
        self.drafts = getattr(self, "drafts", positions) - positions

    _without_c(patches)
    patches.set(cached, "attends_to_block", attends_to_block)
    patches.set(cached, "commit", keep)


def _causal_blocks(patches: Patches) -> None:
    exact = cache.attend

    def attend(queries, keys, values, scale, bias):
        length, extent = queries.shape[2], keys.shape[2]
        last = int((bias == 0).sum())
        ahead = mx.arange(extent)[None] > last - length + mx.arange(length)[:, None]
        causal = mx.where(ahead, mask_bias(bias.dtype), 0.0).astype(bias.dtype)
        return exact(queries, keys, values, scale, causal)

    _without_c(patches)
    patches.set(cache, "attend", attend)


def _without_c(patches: Patches) -> None:
    """Let MLX make the passes, in which the fault is."""
    patches.set(writer.BlockWriter, "_in_c", lambda self: None)


def _fault(name, what, stages, layer, code) -> Fault:
    return Fault(name, what, stages, layer, code, variant=FLASH)


_BOTH = ("flash", "flash_steps")
_ATTENTION = "t3.tfmr.model.layers.0.self_attn"
FAULTS = (
    _fault(
        "prior_of_the_next_position",
        "the prior from each mask's own row instead of from the one before it",
        _BOTH,
        "models.flash.writer.log_prior",
        _prior_of_the_next_position,
    ),
    _fault(
        "early_decoding_reversed",
        "time shift that decides early positions first and none later",
        ("flash_steps",),
        "models.flash.schedule.table",
        _early_first,
    ),
    _fault(
        "scores_without_guidance",
        "positions ranked by the row with text alone",
        _BOTH,
        "models.flash.scores.propose",
        _scores_without_guidance,
    ),
    _fault(
        "drafts_kept",
        "keys of a block's earlier passes left in the cache",
        _BOTH,
        _ATTENTION,
        _drafts_kept,
    ),
    _fault(
        "causal_blocks",
        "a position of a block that sees none after it",
        _BOTH,
        _ATTENTION,
        _causal_blocks,
    ),
)

# The steps of mean flow are even. A start token at another position is caught, but stands alone in
# the row without text, where attention makes more of its error than `bisect` allows a layer.
_NOT_HERE = ("even_flow_times", "off_by_one_position")
# Stages and the stage's own code that T3 has here.
_STAGES = {"t3": "flash", "t3_greedy": "flash_steps"}


def in_shared_parts(faults: Iterable[Fault]) -> list[Fault]:
    """Faults of English's that can as well be made here: of the Llama, the voice and S3Gen."""
    return [
        replace(fault, stages=tuple(_STAGES.get(s, s) for s in fault.stages), variant=FLASH)
        for fault in faults
        if fault.variant == "english" and fault.name not in _NOT_HERE
    ]
