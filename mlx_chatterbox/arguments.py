"""What `generate` is given, on its way from the public classes to the pipeline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from .guards import Outcome
from .text.respelling import Lexicon
from .voice import Voice

Progress = Callable[[str, int, int], None]
# Given each text of a batch when it is final: its number from 0, its waveform, (samples,) float32,
# and how its pieces came out.
Finished = Callable[[int, np.ndarray, tuple[Outcome, ...]], None]


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
    lexicon: Lexicon = None
    guard: bool = True
    batch_size: int | None = None
    speed: float | None = None
    normalize: bool | None = None


@dataclass(frozen=True)
class Batch:
    """What `generate_batch` hands to `generate` in place of a text.

    Attributes:
        seeds: one for each text.
        finished: called in the thread that finished the text, so perhaps in two at a time.
        unneeded: numbers of texts that are written for the company's sake, and not sounded.
    """

    texts: tuple[str, ...]
    seeds: tuple[int | None, ...]
    finished: Finished | None = None
    unneeded: frozenset[int] = frozenset()
