"""Random numbers of a sentence, which depend on its key alone, not on its company or its limit."""

from __future__ import annotations

from typing import Protocol

import mlx.core as mx

from ..decoder.sampling import gumbel_noise


class Draws(Protocol):
    """Noise for each step of each block, both counted from 0."""

    def tokens(self, block: int, step: int, positions: int, vocabulary: int) -> mx.array:
        """Gumbel noise (positions, vocabulary) float32, of the tokens."""

    def positions(self, block: int, step: int, positions: int) -> mx.array:
        """Numbers from 0 to 1, (positions,) float32, for the selection of positions."""


class KeyedDraws:
    """Draws of a key.

    Each block, step and position has a key of its own, derived from its number. So what a position
    draws does not depend on how many others, steps and blocks there are.
    """

    def __init__(self, key: mx.array):
        self._key = key

    def tokens(self, block: int, step: int, positions: int, vocabulary: int) -> mx.array:
        """See `Draws.tokens`."""
        return gumbel_noise(self._keys(block, step, 0, positions), vocabulary)

    def positions(self, block: int, step: int, positions: int) -> mx.array:
        """See `Draws.positions`."""
        keys = self._keys(block, step, 1, positions)
        return mx.vmap(lambda key: mx.random.uniform(key=key))(keys)

    def _keys(self, block: int, step: int, kind: int, positions: int) -> mx.array:
        """A key for each position, (positions, 2)."""
        key = self._key
        for number in (block, step, kind):
            # A split mixes it; numbers beside each other would else be keys beside each other.
            key = mx.random.split(_numbered(key, mx.array(number)), 1)[0]
        return _numbered(key, mx.arange(positions))


def _numbered(key: mx.array, numbers: mx.array) -> mx.array:
    """Keys (..., 2) for numbers (...)."""
    second = key[1] ^ numbers.astype(mx.uint32)
    return mx.stack([mx.broadcast_to(key[0], second.shape), second], axis=-1)
