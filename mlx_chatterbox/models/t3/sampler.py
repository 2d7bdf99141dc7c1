"""Drawing of T3's speech tokens."""

from __future__ import annotations

import mlx.core as mx
import numpy as np

from ..decoder.sampler import Sampler, Token
from ..decoder.sampling import Array
from .config import T3Config
from .sampling import SamplingSettings, process_logits


class SpeechSampler(Sampler):
    """Draws speech tokens; a row's memory are the tokens that it has seen, (V,) bool."""

    def __init__(self, config: T3Config):
        self.config, self.vocabulary = config, config.speech_tokens_dict_size

    def first_memory(self) -> np.ndarray:
        """The start token, which the first draw is penalised for."""
        return np.arange(self.vocabulary) == self.config.start_speech_token

    def remember(self, memory: Array, tokens: Array, draws: list[int]) -> Array:
        """See `Sampler.remember`.

        Upstream's GPT-2 loop penalises the start token at the first step and never again.
        """
        first = [row for row, draw in enumerate(draws) if self.config.is_gpt2 and draw == 0]
        if isinstance(memory, np.ndarray):
            memory[first, self.config.start_speech_token] = False
            memory[range(len(tokens)), tokens] = True
            return memory
        vocabulary = mx.arange(self.vocabulary)[None]
        if first:
            are_first = mx.array([[draw == 0] for draw in draws])
            memory = memory & ~(are_first & (vocabulary == self.config.start_speech_token))
        return memory | (vocabulary == tokens[:, None])

    def alike(self, sampling: SamplingSettings, draw: int) -> SamplingSettings:
        """The settings: processing does not depend on the number of the draw."""
        return sampling

    def process(self, logits: Array, memory: Array, alike: SamplingSettings) -> Array:
        return process_logits(logits, memory, alike)

    def are_random(self, alike: SamplingSettings) -> tuple[bool, ...]:
        return (alike.temperature > 0.0,)

    def ends(self, token: Token, draw: int) -> bool:
        """Upstream's GPT-2 loop does not look at the first token; it has no sound in any case."""
        return token == self.config.stop_speech_token and not (self.config.is_gpt2 and draw == 0)
