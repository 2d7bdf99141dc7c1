"""What `generate` is given, on its way from the public classes to the pipeline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral, Real

import mlx.core as mx
import numpy as np

from ..errors import SettingError
from ..text.given import described
from ..text.respelling import Lexicon
from ..voice import Voice
from .monitor import Outcome

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

    def __post_init__(self):
        """Raises SettingError for a value of another kind, which would fail far from here."""
        for name in ("seed", "max_new_tokens", "n_cfm_timesteps", "batch_size"):
            check_whole(name, getattr(self, name))
        for name in ("watermark", "guard", "normalize"):
            value = getattr(self, name)
            is_whole = isinstance(value, Integral) and value in (0, 1)
            if value is not None and not (is_whole or isinstance(value, np.bool_)):
                raise SettingError(f"{name} must be True or False; got {described(value)}.")
        for name in ("noise", "source"):
            value = getattr(self, name)
            if value is not None and not hasattr(value, "shape"):
                raise SettingError(f"{name} must be an array; got {described(value)}.")
        if self.progress is not None and not callable(self.progress):
            raise SettingError(f"progress must be a function; got {described(self.progress)}.")


def check_whole(name: str, value: object) -> None:
    """Raise SettingError unless a value is a whole number or left out."""
    if value is not None and not isinstance(value, Integral):
        raise SettingError(f"{name} must be a whole number; got {described(value)}.")


def check_number(name: str, value: object) -> None:
    """Raise SettingError unless a value is a number."""
    if not isinstance(value, Real):
        raise SettingError(f"{name} must be a number; got {described(value)}.")


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
