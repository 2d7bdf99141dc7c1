"""Random numbers of a sentence, which depend on its key alone, not on its company or its limit."""

from __future__ import annotations

from typing import Protocol

import mlx.core as mx
import numpy as np

from ..decoder.sampling import gumbel_noise

# What is drawn at a step.
TOKENS, POSITIONS = 0, 1


class Draws(Protocol):
    """Noise for each step of each block, both counted from 0."""

    def tokens(self, block: int, step: int, positions: int, vocabulary: int) -> mx.array:
        """Gumbel noise (positions, vocabulary) float32, of the tokens."""

    def positions(self, block: int, step: int, positions: int) -> mx.array:
        """Numbers from 0 to 1, (positions,) float32, for the selection of positions."""


class KeyedDraws:
    """Draws of keys, one for each block, step and kind (`keys_of`)."""

    def __init__(self, keys: np.ndarray):
        self._keys = keys

    def tokens(self, block: int, step: int, positions: int, vocabulary: int) -> mx.array:
        """See `Draws.tokens`."""
        return token_noise(mx.array(self._keys[block, step, TOKENS]), positions, vocabulary)

    def positions(self, block: int, step: int, positions: int) -> mx.array:
        """See `Draws.positions`."""
        return position_draws(mx.array(self._keys[block, step, POSITIONS]), positions)


def keys_of(key: mx.array, blocks: int, steps: int) -> np.ndarray:
    """Keys of so many steps of so many blocks, (blocks, steps, 2, 2) uint32.

    Each is derived from the numbers of its block, its step and its kind, so that it does not
    depend on how many others there are.
    """
    keys = key
    for count in (blocks, steps, 2):
        numbered = _numbered(keys[..., None, :], mx.arange(count))
        # A split mixes it; numbers beside each other would else be keys beside each other.
        mixed = mx.vmap(lambda one: mx.random.split(one, 1)[0])(numbered.reshape(-1, 2))
        keys = mixed.reshape(numbered.shape)
    return np.array(keys)


def token_noise(keys: mx.array, positions: int, vocabulary: int) -> mx.array:
    """Gumbel noise (..., positions, vocabulary) of keys (..., 2).

    A position draws from a key of its own, whatever the number of the others.
    """
    return gumbel_noise(_numbered(keys[..., None, :], mx.arange(positions)), vocabulary)


def position_draws(keys: mx.array, positions: int) -> mx.array:
    """Numbers from 0 to 1, (..., positions), of keys (..., 2); see `token_noise`."""
    own = _numbered(keys[..., None, :], mx.arange(positions))
    drawn = mx.vmap(lambda key: mx.random.uniform(key=key))(own.reshape(-1, 2))
    return drawn.reshape(own.shape[:-1])


def _numbered(keys: mx.array, numbers: mx.array) -> mx.array:
    """Keys (..., n, 2) of keys (..., 1, 2) and numbers (n,)."""
    second = keys[..., 1] ^ numbers.astype(mx.uint32)
    return mx.stack([mx.broadcast_to(keys[..., 0], second.shape), second], axis=-1)
