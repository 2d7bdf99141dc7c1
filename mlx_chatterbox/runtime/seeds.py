"""Random keys from seeds. The global generator is neither read nor moved."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import mlx.core as mx
import numpy as np

from ..checks.plain import shown
from ..errors import SettingError

# One for all rows, one for each, or none.
Seed = int | Sequence[int | None] | None


def random_key(seed: int | None) -> mx.array:
    """A random key.

    Raises:
        SettingError: a seed outside 0 to 2^64 - 1.
    """
    if seed is None:
        seed = secrets.randbits(63)
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)):
        raise SettingError(f"seed must be a whole number; got {shown(seed)}.")
    if not 0 <= seed < 2**64:
        raise SettingError(f"seed must be from 0 to 2^64 - 1; got {seed}.")
    return mx.random.key(int(seed))


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


def row_keys(seed: Seed, rows: int) -> list[mx.array]:
    """A key for each row of a batch.

    With one seed every row has the same key, and so becomes what it becomes alone with that seed;
    without any, each has another.

    Raises:
        SettingError: not as many seeds as rows.
    """
    seeds: list[int | None]
    if isinstance(seed, (Sequence, np.ndarray)) and not isinstance(seed, str):
        seeds = list(seed)
    else:
        seeds = [seed] * rows
    if len(seeds) != rows:
        raise SettingError(f"{len(seeds)} seeds for {rows} row(s); give one, or one for each.")
    return [random_key(one) for one in seeds]


def token_and_sound_keys(seed: int) -> tuple[mx.array, mx.array]:
    """The keys of an utterance: T3's draws of tokens, and S3Gen's of noise."""
    token_key, sound_key = mx.random.split(mx.random.key(seed))
    return token_key, sound_key
