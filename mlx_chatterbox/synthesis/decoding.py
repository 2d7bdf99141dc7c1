"""The ways in which models write the tokens of a text, each with its settings.

T3 writes one token after the other, Flash's T3 a block of them at a time. What follows from that is
here: which settings there are, how many tokens a text may have, and what the engine is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from numbers import Real
from typing import Any, Protocol

import mlx.core as mx

from ..errors import SettingError
from ..models.decoder.cache import KVCache
from ..models.decoder.engine import DecodingEngine
from ..models.decoder.rows import DecodingRequest
from ..models.flash.requests import FlashRequest
from ..models.flash.sentences import BLOCK_SIZE, token_limit
from ..models.flash.settings import FlashSampling
from ..models.t3.requests import RowRequest, check_lengths
from ..models.t3.sampling import SamplingSettings
from ..models.t3.t3 import T3
from ..text.checked_text import described
from .tokens import TokenLimit

OnToken = Callable[[int], object] | None


class Decoding(Protocol):
    """Settings by which the tokens of a text are written.

    Attributes:
        sampling: of the draws; of the kind that the network's requests take.
    """

    @property
    def sampling(self) -> Any: ...

    def is_guided(self, t3: T3) -> bool:
        """Tell whether a sentence has a second row, for classifier-free guidance."""

    def limit_of(self, limit: TokenLimit, text_tokens: int) -> TokenLimit:
        """The most tokens of a piece with so many text tokens.

        Args:
            limit: of any piece.
        """

    def check(self, t3: T3, text_tokens: mx.array, limit: int) -> None:
        """Check that a network can read a text and write so many tokens, before it has a voice.

        Raises:
            SettingError, TextError: it cannot.
        """

    def request(
        self,
        text_tokens: mx.array,
        prefix: KVCache,
        limit: int,
        key: mx.array,
        on_token: OnToken = None,
    ) -> DecodingRequest:
        """Make the engine's request for the tokens of a text in a voice."""


@dataclass(frozen=True)
class TokenDecoding:
    """One token after the other.

    Attributes:
        cfg_weight: how strongly the text guides; 0 is off.
    """

    sampling: SamplingSettings
    cfg_weight: float = 0.5

    def __post_init__(self):
        if not isinstance(self.cfg_weight, Real):
            raise SettingError(f"cfg_weight must be a number; got {described(self.cfg_weight)}.")

    def is_guided(self, t3: T3) -> bool:
        """See `Decoding.is_guided`; GPT-2 has no guidance."""
        return self.cfg_weight > 0 and not t3.config.is_gpt2

    def limit_of(self, limit: TokenLimit, text_tokens: int) -> TokenLimit:
        """See `Decoding.limit_of`: that of any piece."""
        return limit

    def check(self, t3: T3, text_tokens: mx.array, limit: int) -> None:
        """See `Decoding.check`."""
        check_lengths(t3, text_tokens, self.cfg_weight, limit)

    def request(
        self,
        text_tokens: mx.array,
        prefix: KVCache,
        limit: int,
        key: mx.array,
        on_token: OnToken = None,
    ) -> RowRequest:
        """See `Decoding.request`."""
        return RowRequest(text_tokens, prefix, self.sampling, self.cfg_weight, limit, key, on_token)


@dataclass(frozen=True)
class BlockDecoding:
    """Blocks of tokens, the positions of each decided in a few passes.

    Attributes:
        block_size: tokens of a block.
        max_speech_tokens: upstream's limit, which counts where a text's own is higher; None: none.
    """

    sampling: FlashSampling
    block_size: int = BLOCK_SIZE
    max_speech_tokens: int | None = None

    def is_guided(self, t3: T3) -> bool:
        """See `Decoding.is_guided`."""
        return self.sampling.rows == 2

    def limit_of(self, limit: TokenLimit, text_tokens: int) -> TokenLimit:
        """See `Decoding.limit_of`: upstream's for so long a text, unless the caller set one."""
        if limit.is_callers:
            return limit
        own = token_limit(text_tokens)
        if not self.sampling.upstream_exact:
            own = min(own, limit.tokens)
        most = self.max_speech_tokens
        if most is not None and most < own:
            return TokenLimit(most, is_callers=True)
        return TokenLimit(own, is_callers=False)

    def check(self, t3: T3, text_tokens: mx.array, limit: int) -> None:
        """See `Decoding.check`."""
        # As many positions as any voice takes.
        voice = mx.zeros((1, t3.config.perceiver_queries + 2, 1))
        FlashRequest(text_tokens, voice, self.sampling, limit, self.block_size).check(t3)

    def request(
        self,
        text_tokens: mx.array,
        prefix: KVCache,
        limit: int,
        key: mx.array,
        on_token: OnToken = None,
    ) -> DecodingRequest:
        """See `Decoding.request`."""
        return FlashRequest(
            text_tokens,
            prefix,
            self.sampling,
            limit,
            self.block_size,
            key=key,
            on_token=on_token,
        )


def decode(t3: T3, request: DecodingRequest) -> Generator[int]:
    """Decode the tokens of one text, as they are written: one at a time, or those of a block.

    Yields:
        Speech tokens, also those of 6561 and over that have no sound; not the stop token.

    Raises:
        SettingError, TextError: see `DecodingEngine.join`.
        CheckpointError: the model predicts NaN.
    """
    engine = DecodingEngine(t3, rows=1, prefills=None)
    row = engine.join(request)
    while not engine.is_idle:
        written = engine.step()
        if row.error is not None:
            raise row.error
        for _, token in written:
            yield token
