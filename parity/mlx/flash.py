"""Stages of Flash: what its blocks are predicted from, steps of decoding them, and runs.

`blocks` and `steps` compute everything from tokens of the dump, so that errors do not add up;
`greedy` and `noise` are runs from the beginning.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mlx_chatterbox.checks.tensors import check_tokens
from mlx_chatterbox.models.flash.cache import BlockCache
from mlx_chatterbox.models.flash.decoding import decode
from mlx_chatterbox.models.flash.requests import FlashRequest
from mlx_chatterbox.models.flash.schedule import table
from mlx_chatterbox.models.flash.scores import propose, select
from mlx_chatterbox.models.flash.sentences import BlockStep
from mlx_chatterbox.models.flash.settings import FlashSampling
from mlx_chatterbox.models.flash.writer import BlockWriter
from mlx_chatterbox.models.t3.t3 import T3

# isort: split
import mlx.core as mx

from .. import stages
from ..errors import ParityError
from ..numpy.flash_steps import PADDING, RecordedSteps, recorded_steps

Arrays = Mapping[str, np.ndarray]


def blocks(networks, inputs: Arrays) -> dict[str, mx.array]:
    """What precedes the blocks, the first half decided and committed, and the second."""
    sentence = _Sentence(networks.t3, inputs)
    writer, t3 = sentence.writer, networks.t3
    tokens = {name: _block(t3, inputs, f"flash/{name}") for name in _BLOCKS}
    size = len(tokens["block0_tokens"])
    prior, prior_32 = (log_prior(writer, n) for n in (size, stages.FLASH_LARGE_BLOCK))
    results = {
        "t3/cond_emb": sentence.conditioning[0],
        "flash/prior": mx.exp(prior),
        "flash/prior_32": mx.exp(prior_32),
        "flash/prefix_shift": sentence.before,
    }
    hidden = sentence.run(tokens["block0_tokens"])
    logits = writer.logits(sentence.before, hidden)
    proposal = propose(logits, prior, stages.FLASH_CFG_SCALE, 0.0)
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


def steps(networks, inputs: Arrays) -> dict[str, np.ndarray]:
    """Candidates and scores of recorded steps, and the positions that are decided by them."""
    t3, sentence = networks.t3, _Sentence(networks.t3, inputs)
    mask = t3.config.mask_token
    recorded = _recorded(t3, inputs, "greedy")
    sampling = _sampling(recorded, 0.0)
    prior = log_prior(sentence.writer, recorded.width)
    candidates, after = (np.full(recorded.before.shape, PADDING, np.int32) for _ in range(2))
    scores = np.zeros(recorded.before.shape, np.float32)
    counts: tuple[int, ...] = ()
    for row, number in enumerate(recorded.numbers[:, 1]):
        tokens = recorded.tokens(row)
        if recorded.is_first(row):
            if row:
                sentence.commit(recorded.decided(row, candidates, mask))
            counts = table(len(tokens), sampling)
        logits = sentence.writer.logits(sentence.before, sentence.run(tokens))
        proposal = propose(logits, prior, stages.FLASH_CFG_SCALE, 0.0)
        candidates[row, : len(tokens)] = np.array(proposal.tokens)
        scores[row, : len(tokens)] = np.array(proposal.scores)
        if recorded.is_scheduled:
            count = counts[number] if number < len(counts) else 0
            chosen = select(proposal.scores, mx.array(tokens == mask), count)
            after[row, : len(tokens)] = np.where(chosen, np.array(proposal.tokens), tokens)
    outputs = {"flash/greedy/candidates": candidates, "flash/greedy/pmi": scores}
    return outputs | ({"flash/greedy/after": after} if recorded.is_scheduled else {})


def greedy(networks, inputs: Arrays) -> dict[str, np.ndarray]:
    """Tokens of a run without randomness."""
    recorded = _recorded(networks.t3, inputs, "greedy")
    return {"flash/greedy/tokens": _run(networks, inputs, recorded)[0]}


def noise(networks, inputs: Arrays) -> dict[str, np.ndarray]:
    """Tokens of a run with the noise of positions given, and the blocks after each step."""
    recorded = _recorded(networks.t3, inputs, "noise")
    uniform = np.asarray(inputs["flash/noise/position_uniform"], dtype=np.float32)
    if uniform.shape != recorded.before.shape:
        raise ParityError(
            f"flash/noise/position_uniform has shape {uniform.shape}; it must have that of "
            f"flash/noise/before, {recorded.before.shape}."
        )
    tokens, made = _run(networks, inputs, recorded, uniform)
    return {
        "flash/noise/tokens": tokens,
        "flash/noise/after": _after(recorded, made, networks.t3.config.mask_token),
    }


def log_prior(writer: BlockWriter, block_size: int) -> mx.array:
    """Logarithm of the prior, as a function that a tap can be put on."""
    return writer.log_prior(block_size)


def _sampling(recorded: RecordedSteps, position_temperature: float) -> FlashSampling:
    return FlashSampling(
        num_steps=recorded.num_steps,
        temperature=0,
        time_shift_tau=stages.FLASH_TIME_SHIFT,
        schedule_t_shift=stages.FLASH_SCHEDULE_SHIFT,
        cfg_scale=stages.FLASH_CFG_SCALE,
        position_temperature=position_temperature,
        upstream_exact=True,
    )


def _run(
    networks, inputs: Arrays, recorded: RecordedSteps, uniform: np.ndarray | None = None
) -> tuple[np.ndarray, list[BlockStep]]:
    """Tokens of a run that is as long as the recorded one, and its steps."""
    made: list[BlockStep] = []
    sentence = _Voice(networks.t3, inputs)
    request = FlashRequest(
        sentence.text,
        sentence.conditioning,
        _sampling(recorded, 0.0 if uniform is None else 1.0),
        sum(recorded.lengths),
        recorded.width,
        draws=None if uniform is None else _RecordedDraws(recorded, uniform),
        on_step=made.append,
    )
    tokens = [token for block in decode(networks.t3, request) for token in block]
    return np.array(tokens, dtype=np.int32), made


class _RecordedDraws:
    """Uniform numbers (S, D) of a run's steps, for its positions."""

    def __init__(self, recorded: RecordedSteps, uniform: np.ndarray):
        numbers = recorded.numbers.tolist()
        self._rows = {tuple(n): row for n, row in zip(numbers, uniform, strict=True)}

    def tokens(self, block: int, step: int, positions: int, vocabulary: int) -> mx.array:
        raise ParityError("no token is drawn.")

    def positions(self, block: int, step: int, positions: int) -> mx.array:
        """See `models.flash.draws.Draws`."""
        if (block, step) not in self._rows:
            raise ParityError(f"flash/noise/steps has no step {step} of block {block}.")
        return mx.array(self._rows[block, step])[:positions]


def _after(recorded: RecordedSteps, made: list[BlockStep], mask: int) -> np.ndarray:
    """Blocks after each recorded step, (S, D); ours leave out a step that decides nothing."""
    after = np.full(recorded.before.shape, PADDING, np.int32)
    made_after = {(step.block, step.step): step.after for step in made}
    last = {step.block: step.step for step in made}
    for row, (block, step) in enumerate(recorded.numbers.tolist()):
        length = recorded.lengths[block]
        before = np.full(length, mask) if recorded.is_first(row) else after[row - 1, :length]
        if step <= last.get(block, -1):
            after[row, :length] = made_after.get((block, step), before)
    return after


_BLOCKS = ("block0_tokens", "block0_final_tokens", "block1_tokens")


class _Voice:
    """A voice and a text of a dump."""

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


class _Sentence(_Voice):
    """A voice and a text, and the blocks that are committed."""

    def __init__(self, t3: T3, inputs: Arrays):
        super().__init__(t3, inputs)
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


def _recorded(t3: T3, inputs: Arrays, name: str) -> RecordedSteps:
    if not t3.config.has_mask:
        raise ParityError("a dump of Flash's inputs needs a checkpoint of Flash.")
    return recorded_steps(inputs, name, t3.config.mask_token)
