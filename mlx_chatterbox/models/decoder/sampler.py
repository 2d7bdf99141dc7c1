"""Drawing of tokens from logits, for the steps of the decoding engine."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable
from typing import Any

import mlx.core as mx
import numpy as np

from .sampling import Array, gumbel_noise

# One number, or of networks that write several at a step as many of them.
Token = int | tuple[int, ...]


class Sampler(ABC):
    """Draws the tokens of a network.

    Arrays are MLX's where MLX makes the step and NumPy's where it is made in C. A step has S rows.
    Its logits are (S, V), and the tokens (S,); of a network that writes W numbers at a step they
    are (S, W, V) and (S, W).

    Attributes:
        vocabulary: V.
        numbers: W, or None where tokens are no tuples.
    """

    vocabulary: int
    numbers: int | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of a row's token: () or (W,)."""
        return () if self.numbers is None else (self.numbers,)

    @abstractmethod
    def first_memory(self) -> np.ndarray:
        """Make what a row knows of its earlier draws before its first one."""

    @abstractmethod
    def remember(self, memory: Array, tokens: Array, draws: list[int]) -> Array:
        """Add draws to the rows' memory, (S, ...); NumPy's may be changed in place.

        Args:
            tokens: what was drawn.
            draws: of each row the number of the draw, from 0.
        """

    @abstractmethod
    def alike(self, sampling: Any, draw: int) -> Hashable:
        """Tell what the processing of a draw depends on: rows for which it is equal can share it."""

    @abstractmethod
    def process(self, logits: Array, memory: Array, alike: Any) -> Array:
        """Logits whose softmax is the distribution that the next tokens are drawn from.

        Args:
            logits: after classifier-free guidance.
            memory: (S, ...)
            alike: of all these rows.
        """

    @abstractmethod
    def are_random(self, alike: Any) -> tuple[bool, ...]:
        """For each number of a draw: True if it is drawn, False if it is the likeliest always."""

    @abstractmethod
    def ends(self, token: Token, draw: int) -> bool:
        """Tell whether draw number `draw` ends its row."""

    def keys(self, key: mx.array, count: int) -> np.ndarray:
        """Random keys of so many draws, (count, 2) or (count, W, 2)."""
        of_all = mx.random.split(key, count * (self.numbers or 1))
        return np.array(of_all).reshape(count, *self.shape, 2)

    def choose(self, processed: Array, noise: Callable[[], Array], alike: Any) -> Array:
        """Draw from processed logits, by noise that is made if it is needed."""
        are_random = self.are_random(alike)
        # The likeliest after Gumbel noise is a draw; so `mx.random.categorical` does it too.
        if all(are_random):
            processed = processed + noise()
        elif any(are_random):
            column = np.array(are_random)[:, None]
            if isinstance(processed, np.ndarray):
                processed = np.where(column, processed + noise(), processed)
            else:
                processed = mx.where(mx.array(column), processed + noise(), processed)
        return processed.argmax(axis=-1)

    def draw(self, processed: mx.array, keys: mx.array, alike: Any) -> mx.array:
        """Draw from processed logits by random keys, (S, 2) or (S, W, 2).

        The draw of a row does not depend on the others.
        """
        return self.choose(processed, lambda: gumbel_noise(keys, processed.shape[-1]), alike)
