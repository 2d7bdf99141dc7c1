"""Rows of the decoding engine: a request for speech tokens, and what has become of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import mlx.core as mx
import numpy as np

from ..decoder.cache import KVCache
from .config import T3Config
from .sampling import SamplingSettings


@dataclass(frozen=True, eq=False)
class RowRequest:
    """All that the tokens of a row depend on, and the functions that are called with them.

    Attributes:
        text_tokens: (n,), for the Llama with start and stop.
        conditioning: of the voice: (1, L, C) from `T3.embed_conditioning`, or its
            `T3.conditioning_cache`.
        cfg_weight: 0 turns guidance, and its second row, off (upstream crashes there). GPT-2 has
            none in any case.
        max_new_tokens: limit. Draws depend on it, since the keys of n draws are no beginning of
            those of more.
        key: source of the draws; the same key gives the same tokens. None: that of seed 0.
        on_token: called with each token, in the thread that steps; a true result ends the row.
        on_logits: called with a draw's number, from 0, and its logits (V,) float32, guidance
            included and nothing else. A row that is decoded again after preemption calls it again.
            For proofs: it makes every step wait for its logits.
    """

    text_tokens: mx.array
    conditioning: mx.array | KVCache
    sampling: SamplingSettings
    cfg_weight: float = 0.5
    max_new_tokens: int = 1000
    key: mx.array | None = None
    on_token: Callable[[int], object] | None = None
    on_logits: Callable[[int, np.ndarray], None] | None = None

    def is_guided(self, config: T3Config) -> bool:
        """Tell whether the row has a second one without text."""
        return self.cfg_weight > 0 and not config.is_gpt2

    @property
    def prompt_slots(self) -> int:
        """The most positions that come before the first speech token that is drawn."""
        one = self.conditioning
        length = one.length if isinstance(one, KVCache) else one.shape[1]
        return length + self.text_tokens.shape[0] + 2


@dataclass(eq=False)
class Row:
    """A request in an engine; callers only read it.

    Attributes:
        request: what was asked for.
        number: order of arrival, from 0.
        keys: (limit, 2) uint32, a random key for each draw.
        tokens: those that were delivered, also those of 6561 and over that have no sound; not the
            stop token.
        state: "waiting", "running" or "ended".
        end: why it ended: "stop" token, "limit", "watch" (`on_token` ended it), "left" or
            "failed"; "" before that.
        error: why it failed: NaN in its logits, or an exception of its callbacks.
    """

    request: RowRequest
    number: int
    keys: np.ndarray = field(repr=False)
    tokens: list[int] = field(default_factory=list)
    state: str = "waiting"
    end: str = ""
    error: Exception | None = None
    is_leaving: bool = field(default=False, repr=False)
    progress: Progress | None = field(default=None, repr=False)


class Progress:
    """The state of a running row; it is made anew when the row is preempted.

    Attributes:
        drawn: tokens that are drawn, or queued to be.
        read: tokens of these that were read, or replayed.
        rows: product rows: 2 with guidance, else 1.
        keys: the row's.
        replay: tokens that were delivered before the row was preempted. They take the place of the
            first draws.
    """

    def __init__(self, row: Row, config: T3Config):
        request = row.request
        self.row, self.request = row, request
        self.drawn = self.read = 0
        self.rows = 2 if request.is_guided(config) else 1
        self.keys = row.keys
        self.replay = list(row.tokens)

    @property
    def weight(self) -> float:
        """The weight of guidance; 0 without."""
        return self.request.cfg_weight if self.rows == 2 else 0.0

    @property
    def has_more(self) -> bool:
        """True if another token may be drawn."""
        return self.drawn < self.request.max_new_tokens

    @property
    def forced(self) -> int | None:
        """The token that replaces the next draw, if the row is being replayed."""
        return self.replay[self.drawn] if self.drawn < len(self.replay) else None
