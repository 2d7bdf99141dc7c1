"""Rows of the decoding engine: a request for tokens, and what has become of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np

from ...errors import SettingError
from .cache import KVCache
from .sampler import Token

if TYPE_CHECKING:
    from .network import DecoderNetwork


class DecodingRequest(ABC):
    """All that the tokens of a row depend on, and the functions that are called with them.

    Attributes:
        sampling: settings that the network's sampler knows.
        max_new_tokens: limit. Draws depend on it, since the keys of n draws are no beginning of
            those of more.
        key: source of the draws; the same key gives the same tokens. None: that of seed 0.
        on_token: called with each token, in the thread that steps; a true result ends the row.
        on_logits: called with a draw's number, from 0, and its logits (V,) or (W, V) float32,
            guidance included and nothing else. A row that is decoded again after preemption calls
            it again. For proofs: it makes every step wait for its logits.
    """

    sampling: Any
    max_new_tokens: int
    key: mx.array | None
    on_token: Callable[[Any], object] | None
    on_logits: Callable[[int, np.ndarray], None] | None

    def network(self, of_engine: DecoderNetwork | None) -> DecoderNetwork:
        """The network that writes it: the engine's, unless a request brings its own.

        Raises:
            SettingError: there is none.
        """
        if of_engine is None:
            raise SettingError("an engine without a network takes requests that have one.")
        return of_engine

    @abstractmethod
    def check(self, network: DecoderNetwork) -> None:
        """Check that the network can read the prompt and write so many tokens.

        Raises:
            SettingError, TextError: it cannot.
        """

    def weight(self, network: DecoderNetwork) -> float:
        """The weight of classifier-free guidance; 0 without."""
        return 0.0

    @property
    @abstractmethod
    def prompt_slots(self) -> int:
        """The most positions that come before the first token that is drawn."""

    @property
    def step_slots(self) -> int:
        """The most positions that a step writes."""
        return 1

    @property
    def most_slots(self) -> int:
        """The most positions of the whole row."""
        return self.prompt_slots + self.max_new_tokens

    def keys(self, network: DecoderNetwork) -> np.ndarray:
        """Random keys of all draws, (limit, 2) or (limit, W, 2) uint32, or as its stepper has."""
        key = mx.random.key(0) if self.key is None else self.key
        return network.sampler.keys(key, self.max_new_tokens)

    def stepper(self, network: DecoderNetwork, mode: str) -> Any:
        """Make the `Stepper` of its network where that is not one of a token at a time; or None.

        Args:
            mode: see `DecodingEngine`.
        """
        return None

    @abstractmethod
    def arrays(self) -> list:
        """MLX's arrays that it holds, which are evaluated by the thread that joins."""

    @abstractmethod
    def prefill(self, network: DecoderNetwork) -> tuple[mx.array, mx.array, KVCache]:
        """Compute all that comes before the row's first token, by itself.

        Returns:
            Logits (n, V) or (n, W, V) float32 of the first token, that with text first; what they
            follow from, (n, C); the keys and values of every position, in n rows. n is 2 with
            guidance, else 1.
        """


@dataclass(eq=False)
class Row:
    """A request in an engine; callers only read it.

    Attributes:
        request: what was asked for.
        network: that writes it.
        number: order of arrival, from 0.
        keys: (limit, 2) or (limit, W, 2) uint32, a random key for each draw.
        tokens: those that were delivered, also those that have no sound; not the stop token.
        hidden: of networks that keep it, what each of these was predicted from, (C,) float32.
        state: "waiting", "running" or "ended".
        end: why it ended: "stop" token, "limit", "watch" (`on_token` ended it), "left" or
            "failed"; "" before that.
        error: why it failed: NaN in its logits, or an exception of its callbacks.
    """

    request: DecodingRequest
    network: DecoderNetwork = field(repr=False)
    number: int
    keys: np.ndarray = field(repr=False)
    # Of `Token`s; of one network all are of one kind.
    tokens: list[Any] = field(default_factory=list)
    hidden: list[np.ndarray] = field(default_factory=list, repr=False)
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
        weight: of guidance; 0 without.
        replay: tokens that were delivered before the row was preempted. They take the place of the
            first draws.
    """

    def __init__(self, row: Row):
        self.row, self.request = row, row.request
        self.drawn = self.read = 0
        self.weight = row.request.weight(row.network)
        self.rows = 2 if self.weight > 0 else 1
        self.keys = row.keys
        self.replay = list(row.tokens)

    @property
    def has_more(self) -> bool:
        """True if another token may be drawn."""
        return self.drawn < self.request.max_new_tokens

    @property
    def forced(self) -> Token | None:
        """The token that replaces the next draw, if the row is being replayed."""
        return self.replay[self.drawn] if self.drawn < len(self.replay) else None
