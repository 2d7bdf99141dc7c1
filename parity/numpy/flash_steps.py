"""Recorded steps of Flash's blocks, as a dump has them: (S, D) tokens, -1 after a block's end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .. import stages
from ..errors import ParityError
from .flash import early, schedule

PADDING = -1
# Upstream's number of steps, and the most that are tried where it is another.
USUAL_STEPS, MOST_STEPS = 10, 64


@dataclass(frozen=True)
class RecordedSteps:
    """Blocks of a sentence before each of their steps.

    Attributes:
        name: of the run.
        before: (S, D) int32.
        numbers: (S, 2), block and step, both from 0.
        lengths: of the blocks.
        num_steps: most steps of a block, by which the schedule is made.
        is_scheduled: the masks follow the schedule; otherwise they are made up.
    """

    name: str
    before: np.ndarray
    numbers: np.ndarray
    lengths: tuple[int, ...]
    num_steps: int
    is_scheduled: bool

    @property
    def width(self) -> int:
        return self.before.shape[1]

    def tokens(self, row: int) -> np.ndarray:
        """Tokens of a step's block, (T,)."""
        return self.before[row][self.before[row] != PADDING]

    def is_first(self, row: int) -> bool:
        return row == 0 or self.numbers[row, 0] != self.numbers[row - 1, 0]

    def decided(self, row: int, candidates: np.ndarray, mask: int) -> np.ndarray:
        """Tokens of the block that ends before this step: its last step decides all masked ones."""
        last = self.tokens(row - 1)
        return np.where(last == mask, candidates[row - 1, : len(last)], last)


def recorded_steps(
    inputs: Mapping[str, np.ndarray], name: str, mask: int, shift: float = 0.5
) -> RecordedSteps:
    """Read the steps of a run.

    Args:
        name: the tensors are `flash/{name}/before` and `flash/{name}/steps`.
        mask: token of a position that is not decided; the largest one.
        shift: of the schedule.

    Raises:
        ParityError: they are not the steps of one sentence.
    """
    before, numbers = (_whole(inputs, f"flash/{name}/{part}") for part in ("before", "steps"))
    if before.ndim != 2 or not before.size or numbers.shape != (len(before), 2):
        raise ParityError(
            f"flash/{name}/before and steps have shapes {before.shape} and {numbers.shape}; they "
            "must be (S, D) and (S, 2)."
        )
    if before.min() < PADDING or before.max() > mask:
        raise ParityError(f"flash/{name}/before must be tokens from 0 to {mask}, or {PADDING}.")
    changes = np.diff(numbers[:, 0])
    is_next = np.where(changes == 0, np.diff(numbers[:, 1]) > 0, changes == 1)
    if numbers[0, 0] != 0 or numbers.min() < 0 or not is_next.all():
        raise ParityError(f"flash/{name}/steps must go from block to block and step to step.")
    counts = (before != PADDING).sum(axis=1)
    is_padded = np.arange(before.shape[1]) >= counts[:, None]
    firsts = [0, *(np.flatnonzero(changes) + 1)]
    lengths = tuple(int(counts[row]) for row in firsts)
    own = np.array(lengths)[numbers[:, 0]]
    is_even = np.array_equal(own, counts) and np.array_equal(before == PADDING, is_padded)
    if min(lengths) < 1 or not is_even:
        raise ParityError(f"flash/{name}/before must have {PADDING} at the end of a block alone.")
    steps = _num_steps(before, numbers, own, mask, shift)
    least = max(int(numbers[:, 1].max()) + 1, USUAL_STEPS)
    return RecordedSteps(name, before, numbers, lengths, steps or least, steps > 0)


def _whole(inputs: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    values = np.asarray(inputs[name])
    if values.dtype.kind not in "iu":
        raise ParityError(f"{name} must be whole numbers; it is {values.dtype}.")
    return values.astype(np.int32)


def decided_counts(length: int, steps: int, shift: float, tau: float) -> list[int]:
    """Positions that each step of a block decides, until all are."""
    counts, masked = [], length
    for step, least in enumerate(schedule(length, steps, shift)):
        # The scores do not matter.
        reaching = early(np.arange(masked, dtype=np.float32), step, steps, tau)
        counts.append(masked if step == steps - 1 else min(max(int(least), reaching), masked))
        masked -= counts[-1]
        if not masked:
            break
    return counts


def _num_steps(
    before: np.ndarray, numbers: np.ndarray, lengths: np.ndarray, mask: int, shift: float
) -> int:
    """Number of steps of the schedule that the masks follow; 0 if they follow none."""
    least = int(numbers[:, 1].max()) + 1
    masked = (before == mask).sum(axis=1)
    tries = [USUAL_STEPS, *range(least, max(MOST_STEPS, least) + 1)]
    for steps in (steps for steps in tries if steps >= least):
        fits = True
        for length in set(lengths.tolist()):
            counts = decided_counts(length, steps, shift, stages.FLASH_TIME_SHIFT)
            left = length - np.cumsum([0, *counts])
            rows = lengths == length
            at = np.minimum(numbers[rows, 1], len(left) - 1)
            fits = fits and np.array_equal(left[at], masked[rows])
        if fits:
            return steps
    return 0
