"""Seeds and random keys; the global generator is neither read nor moved."""

from __future__ import annotations

import secrets

import mlx.core as mx
import numpy as np

from .errors import SettingError


def piece_keys(key: mx.array, count: int) -> list[mx.array]:
    """A key for each piece of a text; a text in one piece keeps its own."""
    return [key] if count == 1 else list(mx.random.split(key, count))


def piece_seeds(seed: int | None, count: int) -> list[int]:
    """A seed for each piece of a text: its key is `piece_keys`'s.

    Raises:
        SettingError: a seed outside 0 to 2^64 - 1.
    """
    keys = [np.array(key) for key in piece_keys(random_key(seed), count)]
    return [int(high) << 32 | int(low) for high, low in keys]


def random_key(seed: int | None) -> mx.array:
    """A random key; the global generator is neither read nor moved.

    Raises:
        SettingError: a seed outside 0 to 2^64 - 1.
    """
    if seed is None:
        seed = secrets.randbits(63)
    if not 0 <= seed < 2**64:
        raise SettingError(f"seed must be from 0 to 2^64 - 1; got {seed}.")
    return mx.random.key(seed)
