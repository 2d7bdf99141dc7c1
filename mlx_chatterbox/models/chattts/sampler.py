"""Drawing of ChatTTS's text tokens and codes."""

from __future__ import annotations

from typing import NamedTuple

import mlx.core as mx
import numpy as np

from ..decoder.sampler import Sampler, Token
from ..decoder.sampling import Array
from .config import GPTConfig
from .sampling import RECENT, ChatTTSSampling, process_logits


class _Alike(NamedTuple):
    """Settings of a draw, and whether it may stop."""

    settings: ChatTTSSampling
    may_stop: bool


class _RecentSampler(Sampler):
    """Draws by rules that look back on the row's last draws, of each number by itself.

    Its memory are these, (16,) or (W, 16) int32, the latest last; -1 stands for none.
    """

    stop: int

    def first_memory(self) -> np.ndarray:
        return np.full((*self.shape, RECENT), -1, dtype=np.int32)

    def remember(self, memory: Array, tokens: Array, draws: list[int]) -> Array:
        if isinstance(memory, np.ndarray):
            return np.concatenate([memory[..., 1:], tokens[..., None].astype(np.int32)], axis=-1)
        return mx.concatenate([memory[..., 1:], tokens[..., None]], axis=-1)

    def alike(self, sampling: ChatTTSSampling, draw: int) -> _Alike:
        return _Alike(sampling, draw >= sampling.min_new_tokens)

    def process(self, logits: Array, memory: Array, alike: _Alike) -> Array:
        rows = logits.reshape(-1, self.vocabulary), memory.reshape(-1, RECENT)
        step = alike.settings.min_new_tokens if alike.may_stop else 0
        return process_logits(*rows, alike.settings, self.stop, step).reshape(logits.shape)

    def are_random(self, alike: _Alike) -> tuple[bool, ...]:
        """See `Sampler.are_random`; one temperature is that of all codebooks."""
        random = tuple(temperature > 0 for temperature in alike.settings.temperatures)
        return random * (self.numbers or 1) if len(random) == 1 else random


class TextSampler(_RecentSampler):
    """Draws text tokens."""

    def __init__(self, config: GPTConfig):
        self.vocabulary, self.stop = config.num_text_tokens, config.stop_text_token

    def ends(self, token: Token, draw: int) -> bool:
        return token == self.stop


class CodeSampler(_RecentSampler):
    """Draws a code of each codebook at a time."""

    def __init__(self, config: GPTConfig):
        self.numbers = config.num_vq
        self.vocabulary, self.stop = config.num_audio_tokens, config.stop_code

    def ends(self, token: Token, draw: int) -> bool:
        """Any codebook's stop ends the row."""
        assert isinstance(token, tuple)  # of `numbers`
        return self.stop in token
