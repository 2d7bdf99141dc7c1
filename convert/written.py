"""Sentences that a reference has written, and what any T3 predicts along them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

import mlx_chatterbox  # noqa: F401  (before mlx.core, so that a fast BLAS is found)
from mlx_chatterbox.models.config import ModelConfig
from mlx_chatterbox.models.flash.cache import BlockCache
from mlx_chatterbox.models.flash.decoding import decode
from mlx_chatterbox.models.flash.requests import FlashRequest
from mlx_chatterbox.models.flash.schedule import table
from mlx_chatterbox.models.flash.sentences import BlockStep
from mlx_chatterbox.models.flash.settings import usual_sampling
from mlx_chatterbox.models.flash.writer import BlockWriter
from mlx_chatterbox.models.t3.decoding import decode_batch
from mlx_chatterbox.models.t3.sampling import SamplingSettings
from mlx_chatterbox.models.t3.t3 import T3

# isort: split
import mlx.core as mx

# Of each sentence at least: the second is predicted from the committed keys of the first.
_FEWEST_BLOCKS = 2


@dataclass(frozen=True)
class TokenByToken:
    """A sentence of a T3 that writes one token after the other.

    Attributes:
        text: (n,) int32.
        tokens: (m,) int32, those that were written.
    """

    text: np.ndarray
    tokens: np.ndarray

    @property
    def positions(self) -> int:
        """Predictions along it: one for each token, one for the end."""
        return len(self.tokens) + 1

    def logits(self, t3: T3, conditioning: mx.array) -> mx.array:
        """Logits (rows, positions, V): with text, and without it where the T3 is guided."""
        return t3.teacher_forced_logits(conditioning, mx.array(self.text), mx.array(self.tokens))


@dataclass(frozen=True)
class WrittenBlock:
    """A block that was decided step by step.

    Attributes:
        states: (T,) int32 each, the block before some of its steps, with masks.
        tokens: (T,) int32, the whole.
    """

    states: tuple[np.ndarray, ...]
    tokens: np.ndarray


@dataclass(frozen=True)
class BlockByBlock:
    """A sentence of a T3 that decides blocks of masked tokens.

    Attributes:
        text: (n,) int32.
        tokens: (m,) int32, those that were written.
        mask: the token of a position that is not decided.
    """

    text: np.ndarray
    tokens: np.ndarray
    blocks: tuple[WrittenBlock, ...]
    mask: int

    @property
    def positions(self) -> int:
        """Predictions along it: one for each mask of a state."""
        states = (state for block in self.blocks for state in block.states)
        return sum(int((state == self.mask).sum()) for state in states)

    def logits(self, t3: T3, conditioning: mx.array) -> mx.array:
        """Logits (2, positions, V): with text, and without it."""
        writer = BlockWriter(t3)
        voice = t3.conditioning_cache(conditioning)
        before, past = writer.prefill(voice, mx.array(self.text), True)
        cache, parts = BlockCache(past), []
        for number, block in enumerate(self.blocks):
            width = len(block.tokens)
            cache.make_room_for(width)
            for state in block.states:
                hidden = writer.run([mx.array(state)], [cache], width)[0]
                (masked,) = np.nonzero(state == self.mask)
                parts.append(writer.logits(before, hidden)[:, mx.array(masked)])
                mx.eval(parts[-1])
            if number + 1 < len(self.blocks):
                before = writer.run([mx.array(block.tokens)], [cache], width)[0][:, -1]
                cache.commit(width)
        return mx.concatenate(parts, axis=1)


Written = TokenByToken | BlockByBlock


def write_sentences(
    t3: T3,
    config: ModelConfig,
    conditioning: mx.array,
    texts: Sequence[np.ndarray],
    positions: int,
    seed: int,
) -> tuple[Written, ...]:
    """Have a T3 write sentences, with the usual settings of its model.

    Args:
        texts: (n,) int32 each.
        positions: predictions along all of them, about; not all of the sentences may be needed.
        seed: of sampling.
    """
    write = _by_block if config.t3.has_mask else _token_by_token
    return write(t3, config, conditioning, texts, positions, seed)


def _token_by_token(t3, config, conditioning, texts, positions, seed) -> tuple[Written, ...]:
    generation = config.generation
    settings = SamplingSettings(
        generation.temperature,
        generation.repetition_penalty,
        generation.min_p,
        generation.top_p,
        generation.top_k,
        generation.sampler_order,
    )
    speech: list[list[int]] = [[] for _ in texts]
    steps = decode_batch(
        t3,
        conditioning,
        [mx.array(text) for text in texts],
        settings,
        generation.cfg_weight,
        min(2 * -(-positions // len(texts)), generation.max_new_tokens),
        [mx.random.key(seed + i) for i in range(len(texts))],
    )
    for step in steps:
        for sentence, token in step:
            speech[sentence].append(token)
    sentences, left = [], positions
    for text, tokens in zip(texts, speech, strict=True):
        if left > 0:
            sentences.append(TokenByToken(text, np.array(tokens[: left - 1], dtype=np.int32)))
            left -= sentences[-1].positions
    return tuple(sentences)


def _by_block(t3, config, conditioning, texts, positions, seed) -> tuple[Written, ...]:
    """Keep every n-th step of a sentence, and of the next one those after it."""
    blocks, sampling = config.blocks, usual_sampling(config)
    counts = table(blocks.size, sampling)
    of_block = sum(sum(counts[i:]) for i, count in enumerate(counts) if count)
    each = -(-positions // len(texts))
    needed = max(_FEWEST_BLOCKS, -(-each // of_block))
    every = min(max(1, round(needed * of_block / each)), len(counts))
    sentences: list[Written] = []
    for number, text in enumerate(texts):
        steps: list[BlockStep] = []
        request = FlashRequest(
            mx.array(text),
            conditioning,
            sampling,
            min(needed * blocks.size, config.generation.max_new_tokens),
            blocks.size,
            key=mx.random.key(seed + number),
            on_step=steps.append,
        )
        tokens = [token for block in decode(t3, request) for token in block]
        kept = steps[number % every :: every]
        whole = {step.block: step.after for step in steps}
        sentences.append(
            BlockByBlock(
                text,
                np.array(tokens, dtype=np.int32),
                tuple(
                    WrittenBlock(tuple(s.before for s in kept if s.block == block), after)
                    for block, after in whole.items()
                ),
                t3.config.mask_token,
            )
        )
    return tuple(one for one in sentences if one.positions)
