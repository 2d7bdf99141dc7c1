"""Random keys from seeds. MLX's global generator is neither read nor advanced."""

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
    """Make a random key; of a random seed if it is None.

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
    """Derive a key for each piece of a text; a single piece keeps the text's own."""
    return [key] if count == 1 else list(mx.random.split(key, count))


def piece_seeds(seed: int | None, count: int) -> list[int]:
    """Derive a seed for each piece of a text, with the keys that `piece_keys` makes.

    Raises:
        SettingError: a seed outside 0 to 2^64 - 1.
    """
    keys = [np.array(key) for key in piece_keys(random_key(seed), count)]
    return [int(high) << 32 | int(low) for high, low in keys]


def row_keys(seed: Seed, rows: int) -> list[mx.array]:
    """Make a key for each row of a batch.

    With a single seed every row has the same key, and the same result as alone with that seed;
    without a seed each has another.

    Raises:
        SettingError: there are more or fewer seeds than rows.
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
    """Make the two keys of an utterance: for T3's sampling, and for S3Gen's noise."""
    token_key, sound_key = mx.random.split(mx.random.key(seed))
    return token_key, sound_key
