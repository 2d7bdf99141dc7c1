"""Stages of Flash: what its blocks are predicted from, and steps of decoding them.

Everything is computed from tokens of the dump, so that errors do not add up; `greedy/tokens` alone
is a run of its own.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mlx_chatterbox.checks.tensors import check_tokens
from mlx_chatterbox.models.flash.cache import BlockCache
from mlx_chatterbox.models.flash.decoding import decode
from mlx_chatterbox.models.flash.requests import FlashRequest
from mlx_chatterbox.models.flash.scores import propose
from mlx_chatterbox.models.flash.settings import FlashSampling
from mlx_chatterbox.models.flash.writer import BlockWriter
from mlx_chatterbox.models.t3.t3 import T3

# isort: split
import mlx.core as mx

from .. import stages
from ..errors import ParityError

Arrays = Mapping[str, np.ndarray]
# The size of the prior beside that of the dump's blocks.
LARGE_BLOCK = 32
_PADDING = -1


def blocks(networks, inputs: Arrays) -> dict[str, mx.array]:
    """What precedes the blocks, the first half decided and committed, and the second."""
    sentence = _Sentence(networks.t3, inputs)
    writer, t3 = sentence.writer, networks.t3
    tokens = {name: _block(t3, inputs, f"flash/{name}") for name in _BLOCKS}
    size = len(tokens["block0_tokens"])
    log_prior = writer.log_prior(size)
    results = {
        "t3/cond_emb": sentence.conditioning[0],
        "flash/prior": mx.exp(log_prior),
        "flash/prior_32": mx.exp(writer.log_prior(LARGE_BLOCK)),
        "flash/prefix_shift": sentence.before,
    }
    hidden = sentence.run(tokens["block0_tokens"])
    logits = writer.logits(sentence.before, hidden)
    proposal = propose(logits, log_prior, stages.FLASH_CFG_SCALE, 0.0)
    results |= {
        "flash/block0_hidden": hidden,
        "flash/block0_logits": logits,
        "flash/block0_pmi_cond": proposal.information[0],
        "flash/block0_pmi_uncond": proposal.information[1],
        "flash/block0_pmi": proposal.scores,
    }
    sentence.commit(tokens["block0_final_tokens"])
    results["flash/block1_shift"] = sentence.before
    hidden = sentence.run(tokens["block1_tokens"])
    results["flash/block1_logits"] = writer.logits(sentence.before, hidden)
    return results


def greedy(networks, inputs: Arrays) -> dict[str, np.ndarray]:
    """Candidates and scores of recorded steps, and a run from the beginning."""
    t3, sentence = networks.t3, _Sentence(networks.t3, inputs)
    before, steps = _recorded_steps(t3, inputs)
    width, mask = before.shape[1], t3.config.mask_token
    log_prior = sentence.writer.log_prior(width)
    candidates = np.full(before.shape, _PADDING, dtype=np.int32)
    scores = np.zeros(before.shape, dtype=np.float32)
    committed = 0
    for i, (number, _) in enumerate(steps):
        if number == committed + 1:
            # The last step of a block decides all that is masked.
            last, length = before[i - 1], int((before[i - 1] != _PADDING).sum())
            sentence.commit(np.where(last == mask, candidates[i - 1], last)[:length])
            committed = number
        tokens = before[i][before[i] != _PADDING]
        logits = sentence.writer.logits(sentence.before, sentence.run(tokens))
        proposal = propose(logits, log_prior, stages.FLASH_CFG_SCALE, 0.0)
        candidates[i, : len(tokens)] = np.array(proposal.tokens)
        scores[i, : len(tokens)] = np.array(proposal.scores)
    firsts = [row for row, (_, k) in zip(before, steps, strict=True) if k == 0]
    request = FlashRequest(
        sentence.text,
        sentence.conditioning,
        FlashSampling(
            num_steps=int(steps[:, 1].max()) + 1,
            temperature=0,
            time_shift_tau=stages.FLASH_TIME_SHIFT,
            cfg_scale=stages.FLASH_CFG_SCALE,
            position_temperature=0,
            upstream_exact=True,
        ),
        sum(int((row != _PADDING).sum()) for row in firsts),
        width,
    )
    tokens = [token for block in decode(t3, request) for token in block]
    return {
        "flash/greedy/candidates": candidates,
        "flash/greedy/pmi": scores,
        "flash/greedy/tokens": np.array(tokens, dtype=np.int32),
    }


_BLOCKS = ("block0_tokens", "block0_final_tokens", "block1_tokens")


class _Sentence:
    """A voice and a text, and the blocks that are committed."""

    def __init__(self, t3: T3, inputs: Arrays):
        config = t3.config
        if not config.has_mask:
            raise ParityError("a dump of Flash's inputs needs a checkpoint of Flash.")
        speaker = np.asarray(inputs["flash/speaker_emb"], dtype=np.float32).reshape(1, -1)
        most = config.max_prompt_tokens
        prompt = _tokens(inputs, "flash/cond_prompt_tokens", config.speech_tokens_dict_size, most)
        emotion = np.asarray(inputs["flash/emotion"], dtype=np.float32)
        self.conditioning = t3.embed_conditioning(
            mx.array(speaker), mx.array(prompt)[None], mx.array(emotion)
        )
        most = config.max_text_tokens + 2
        self.text = mx.array(
            _tokens(inputs, "flash/text_tokens", config.text_tokens_dict_size, most)
        )
        self.writer = BlockWriter(t3)
        cache = t3.conditioning_cache(self.conditioning)
        self.before, past = self.writer.prefill(cache, self.text, True)
        self._cache = BlockCache(past)

    def run(self, tokens: np.ndarray) -> mx.array:
        """Pass a block through the layers, to (2, T, C)."""
        self._cache.make_room_for(len(tokens))
        block = mx.array(tokens.astype(np.int32))
        return self.writer.run([block], [self._cache], len(tokens))[0]

    def commit(self, tokens: np.ndarray) -> None:
        """Keep a block."""
        self.before = self.run(tokens)[:, -1]
        self._cache.commit(len(tokens))


def _tokens(inputs: Arrays, name: str, count: int, most: int) -> np.ndarray:
    """Tokens (n,) below `count`, 1 to `most` of them; checked, since MLX checks neither."""
    tokens = np.asarray(inputs[name])
    check_tokens(tokens, count, name, ParityError)
    if tokens.ndim != 1 or not 1 <= len(tokens) <= most:
        raise ParityError(f"{name} has shape {tokens.shape}; it must be (n,), n from 1 to {most}.")
    return tokens.astype(np.int32)


def _block(t3: T3, inputs: Arrays, name: str) -> np.ndarray:
    return _tokens(inputs, name, t3.config.speech_rows, t3.config.max_speech_tokens)


def _recorded_steps(t3: T3, inputs: Arrays) -> tuple[np.ndarray, np.ndarray]:
    """Tokens (S, D) before each step, -1 after the end of a block, and its block and number."""
    before, steps = (np.asarray(inputs[f"flash/greedy/{name}"]) for name in ("before", "steps"))
    if before.ndim != 2 or not before.size or steps.shape != (len(before), 2):
        raise ParityError(
            f"flash/greedy/before and steps have shapes {before.shape} and {steps.shape}; they "
            "must be (S, D) and (S, 2)."
        )
    tokens = np.where(before == _PADDING, 0, before)
    check_tokens(tokens.reshape(-1), t3.config.speech_rows, "flash/greedy/before", ParityError)
    check_tokens(steps.reshape(-1), len(before), "flash/greedy/steps", ParityError)
    is_next = np.diff(steps[:, 0])
    if steps[0, 0] != 0 or not np.isin(is_next, (0, 1)).all():
        raise ParityError("flash/greedy/steps must go from block to block, from 0.")
    return before.astype(np.int32), steps
