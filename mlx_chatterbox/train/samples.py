"""What a trainer is fed: clips in the order of a plan, each with the key of its randomness."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..errors import ChatterboxError

# First words of the keys, so that training and evaluation never share one.
TRAINING, EVALUATION = 0, 1


class TrainingError(ChatterboxError):
    """A run that cannot begin or go on."""


class BatchPlan(Protocol):
    """The order of the data; `data.batches.Batches` is one."""

    def epoch(self, epoch: int) -> list[list[int]]:
        """Clip indices of every global batch."""


@dataclass(frozen=True)
class Samples:
    """Clips to learn from, or to be judged by.

    Attributes:
        plan: the global batches of each epoch; of an evaluation set epoch 0 is used.
        make: the sample of a clip (index, key (2,) uint32); see `data.batches.make_sample`.
    """

    plan: BatchPlan
    make: Callable[[int, np.ndarray], dict]


def sample_key(seed: int, purpose: int, epoch: int, clip: int) -> np.ndarray:
    """The key that all randomness of a sample comes from, (2,) uint32."""
    return np.random.SeedSequence((seed, purpose, epoch, clip)).generate_state(2, np.uint32)
