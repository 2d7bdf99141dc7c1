"""Requests for speech tokens of Flash."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import mlx.core as mx
import numpy as np

from ...errors import SettingError
from ..decoder.cache import KVCache
from ..t3.requests import check_text
from ..t3.t3 import T3
from .draws import Draws, KeyedDraws
from .settings import FlashSampling

# Upstream's limit of a sentence: six tokens for each of its text, and 12 s at least.
TOKENS_PER_TEXT_TOKEN = 6
LEAST_LIMIT = 300
# Upstream's; its network was trained with blocks of up to 32 tokens.
BLOCK_SIZE = 16


@dataclass(frozen=True)
class BlockStep:
    """A step of a block, for proofs; T is the block's length.

    Attributes:
        block, step: numbers from 0.
        before, after: (T,) tokens, and `T3Config.mask_token` where none is decided.
        tokens: (T,), drawn for every position.
        information: (n, T), see `Proposal`.
        scores: (T,), without the noise of positions.
    """

    block: int
    step: int
    before: np.ndarray
    tokens: np.ndarray
    information: np.ndarray
    scores: np.ndarray
    after: np.ndarray


@dataclass(frozen=True, eq=False)
class FlashRequest:
    """A sentence to be spoken by Flash.

    Attributes:
        text_tokens: (n,), with start and stop.
        conditioning: of the voice: (1, L, C) from `T3.embed_conditioning`, or its
            `T3.conditioning_cache`.
        max_new_tokens: limit; None: `token_limit`. The last block may be short.
        block_size: tokens that are decided together; learned positions count within them.
        key: source of the draws; the same key gives the same tokens. None: that of seed 0.
        draws: to be used instead of the key's.
        on_token: called with each token of a block when it is finished; a true result ends the
            sentence.
        on_step: called with each step. For proofs: it makes every step wait.
    """

    text_tokens: mx.array
    conditioning: mx.array | KVCache
    sampling: FlashSampling = field(default_factory=FlashSampling)
    max_new_tokens: int | None = None
    block_size: int = BLOCK_SIZE
    key: mx.array | None = None
    draws: Draws | None = None
    on_token: Callable[[int], object] | None = None
    on_step: Callable[[BlockStep], None] | None = None

    def check(self, t3: T3) -> None:
        """Check that a network can read the text and write so many tokens.

        Raises:
            SettingError, TextError: it cannot.
        """
        config = t3.config
        if not config.has_mask:
            raise SettingError("this T3 writes one token at a time, not blocks of them.")
        longest = config.max_speech_tokens
        if not 1 <= self.block_size <= longest:
            raise SettingError(f"block_size must be from 1 to {longest}; got {self.block_size}.")
        check_text(t3, self.text_tokens, config.max_text_tokens + 2)
        room = config.max_position_embeddings - self.prompt_slots
        if not 1 <= self.limit <= room:
            raise SettingError(f"max_new_tokens must be from 1 to {room}; got {self.limit}.")

    @property
    def limit(self) -> int:
        """The most tokens that are written."""
        if self.max_new_tokens is None:
            return token_limit(self.text_tokens.shape[0])
        return self.max_new_tokens

    @property
    def prompt_slots(self) -> int:
        """The positions before the first block."""
        one = self.conditioning
        length = one.length if isinstance(one, KVCache) else one.shape[1]
        return length + self.text_tokens.shape[0] + 1

    def own_draws(self) -> Draws:
        """`draws`, or those of the key."""
        if self.draws is not None:
            return self.draws
        return KeyedDraws(mx.random.key(0) if self.key is None else self.key)


def token_limit(text_tokens: int) -> int:
    """Upstream's limit for a text of so many tokens, start and stop included."""
    return max(TOKENS_PER_TEXT_TOKEN * text_tokens, LEAST_LIMIT)
