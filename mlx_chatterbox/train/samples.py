"""Input of a trainer: clips in the order of a plan, each with a random key of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..errors import ChatterboxError

# First words of the keys, so that training and evaluation never share one.
TRAINING, EVALUATION = 0, 1


class TrainingError(ChatterboxError):
    """A run cannot begin or continue."""


class BatchPlan(Protocol):
    """The batches of every epoch; `data.batches.Batches` implements it."""

    def epoch(self, epoch: int) -> list[list[int]]:
        """Return the clip indices of every global batch."""


@dataclass(frozen=True)
class Samples:
    """A training or evaluation set.

    Attributes:
        plan: the global batches of each epoch; an evaluation set uses epoch 0.
        make: makes a clip's sample from (index, key (2,) uint32); see `data.batches.make_sample`.
    """

    plan: BatchPlan
    make: Callable[[int, np.ndarray], dict]


def sample_key(seed: int, purpose: int, epoch: int, clip: int) -> np.ndarray:
    """Return the random key of a sample, (2,) uint32."""
    return np.random.SeedSequence((seed, purpose, epoch, clip)).generate_state(2, np.uint32)
