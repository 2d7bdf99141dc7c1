"""Sentences for Flash: all that its tokens depend on, and limits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import mlx.core as mx
import numpy as np

from ...errors import SettingError
from ..decoder.cache import KVCache
from ..decoder.network import DecoderNetwork
from ..decoder.rows import DecodingRequest
from ..t3.requests import check_text
from ..t3.t3 import T3
from .draws import Draws, keys_of
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
class FlashSentence(DecodingRequest):
    """A sentence to be spoken by Flash; `FlashRequest` is one for the engine.

    Attributes:
        text_tokens: (n,), with start and stop.
        conditioning: of the voice: (1, L, C) from `T3.embed_conditioning`, or its
            `T3.conditioning_cache`.
        max_new_tokens: limit; None: `token_limit`. The last block may be short. Draws do not depend
            on it.
        block_size: tokens that are decided together; learned positions count within them.
        draws: to be used instead of the key's.
        on_token: see `DecodingRequest`; called with each token of a block when it is finished.
        on_step: called with each step that decides something. For proofs: it makes every step
            wait.
        on_logits: called with the number of such a step, from 0, and what its tokens are drawn
            from, (T, V) float32; also for proofs.
        key, ...: see `DecodingRequest`.
    """

    text_tokens: mx.array
    conditioning: mx.array | KVCache
    sampling: FlashSampling = field(default_factory=FlashSampling)
    # Always a number once it is made.
    max_new_tokens: int = None  # type: ignore[assignment]
    block_size: int = BLOCK_SIZE
    key: mx.array | None = None
    draws: Draws | None = None
    on_token: Callable[[int], object] | None = None
    on_step: Callable[[BlockStep], None] | None = None
    on_logits: Callable[[int, np.ndarray], None] | None = None

    def __post_init__(self) -> None:
        if self.max_new_tokens is None:
            # A frozen class has no other way.
            object.__setattr__(self, "max_new_tokens", token_limit(self.text_tokens.shape[0]))

    def check(self, network: DecoderNetwork) -> None:
        """See `DecodingRequest.check`."""
        config = masked_t3(network).config
        longest = config.max_speech_tokens
        if not 1 <= self.block_size <= longest:
            raise SettingError(f"block_size must be from 1 to {longest}; got {self.block_size}.")
        check_text(masked_t3(network), self.text_tokens, config.max_text_tokens + 2)
        room = config.max_position_embeddings - self.prompt_slots
        if not 1 <= self.max_new_tokens <= room:
            raise SettingError(
                f"max_new_tokens must be from 1 to {room}; got {self.max_new_tokens}."
            )

    def weight(self, network: DecoderNetwork) -> float:
        """The weight of guidance."""
        return self.sampling.cfg_scale

    @property
    def prompt_slots(self) -> int:
        """The positions before the first block."""
        one = self.conditioning
        length = one.length if isinstance(one, KVCache) else one.shape[1]
        return length + self.text_tokens.shape[0] + 1

    @property
    def step_slots(self) -> int:
        return self.block_size

    @property
    def blocks(self) -> int:
        """The most blocks that are written."""
        return -(-self.max_new_tokens // self.block_size)

    @property
    def most_slots(self) -> int:
        """See `DecodingRequest.most_slots`; a GPU passes over whole blocks always."""
        return self.prompt_slots + self.blocks * self.block_size

    def arrays(self) -> list:
        one = self.conditioning
        return [self.text_tokens, *((one.keys, one.values) if isinstance(one, KVCache) else (one,))]

    def keys(self, network: DecoderNetwork) -> np.ndarray:
        """See `keys_of`."""
        key = mx.random.key(0) if self.key is None else self.key
        return keys_of(key, self.blocks, self.sampling.num_steps)


def masked_t3(network: DecoderNetwork) -> T3:
    """A network that is a T3 with a mask.

    Raises:
        SettingError: it is another.
    """
    if not (isinstance(network, T3) and network.config.has_mask):
        raise SettingError("this T3 writes one token at a time, not blocks of them.")
    return network


def token_limit(text_tokens: int) -> int:
    """Upstream's limit for a text of so many tokens, start and stop included."""
    return max(TOKENS_PER_TEXT_TOKEN * text_tokens, LEAST_LIMIT)
