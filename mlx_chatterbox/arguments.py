"""What `generate` is given, on its way from the public classes to the pipeline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import mlx.core as mx

from .text.respelling import Lexicon
from .voice import Voice

Progress = Callable[[str, int, int], None]


class Default(float):
    """A setting that the caller left out: upstream's number, and the checkpoint's may differ."""


@dataclass(frozen=True)
class Extras:
    """What every `generate` takes beyond upstream's arguments, by keyword."""

    voice: Voice | None = None
    seed: int | None = None
    max_new_tokens: int | None = None
    n_cfm_timesteps: int | None = None
    noise: mx.array | None = None
    source: mx.array | None = None
    progress: Progress | None = None
    watermark: bool | None = None
    guard: bool = True
    batch_size: int | None = None
    lexicon: Lexicon = None


@dataclass(frozen=True)
class Batch:
    """What `generate_batch` hands to `generate` in place of a text: texts, and a seed for each."""

    texts: tuple[str, ...]
    seeds: tuple[int | None, ...]
