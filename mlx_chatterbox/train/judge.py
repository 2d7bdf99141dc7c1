"""Evaluation: the same clips with the same random keys every time, divided among the machines."""

from __future__ import annotations

import math
from collections.abc import Iterator

from .config import TrainConfig
from .distributed import Group
from .samples import EVALUATION, Samples, TrainingError, sample_key
from .state import RunState
from .trained import TrainedTask


class Judge:
    """Computes losses over an evaluation set.

    Args:
        evaluation: the clips; epoch 0 of the plan is used.
    """

    def __init__(self, config: TrainConfig, evaluation: Samples, group: Group):
        self._config, self._evaluation, self._group = config, evaluation, group
        self._totals: dict[str, dict[str, float]] = {}

    def __call__(self, trained: TrainedTask) -> dict[str, float]:
        """Compute a task's loss and parts over the whole evaluation set."""
        if trained.name not in self._totals:
            counts: dict[str, float] = {}
            for samples, is_mine in self._batches():
                for name, count in trained.batches([samples], is_mine, training=False)[1].items():
                    counts[name] = counts.get(name, 0.0) + count
            self._totals[trained.name] = self._group.sum_numbers(counts)
        totals = self._totals[trained.name]
        sums: dict[str, float] = {}
        for samples, is_mine in self._batches():
            for name, value in trained.evaluate([samples], totals).items():
                sums[name] = sums.get(name, 0.0) + value * is_mine
        return self._group.sum_numbers(sums)

    def _batches(self) -> Iterator[tuple[list[dict], bool]]:
        size = self._config.training.per_device_eval_batch_size
        for indices in self._evaluation.plan.epoch(0):
            mine = self._group.share(indices)
            for first in range(0, max(1, len(mine)), size):
                clips = mine[first : first + size] or indices[:1]
                yield [self._sample(clip) for clip in clips], bool(mine)

    def _sample(self, clip: int) -> dict:
        key = sample_key(self._config.seed, EVALUATION, 0, clip)
        return {**self._evaluation.make(clip, key), "key": key}


def note_best(config: TrainConfig, state: RunState, values: dict[str, float]) -> bool:
    """Note an evaluation in the state; returns whether it is the best so far.

    Raises:
        TrainingError: `metric_for_best_model` is none of these values.
    """
    training = config.training
    name = training.metric_for_best_model
    if name not in values and f"eval_{name}" in values:
        name = f"eval_{name}"
    if name not in values:
        known = ", ".join(values)
        raise TrainingError(
            f"training.metric_for_best_model: there is no {name}; there are {known}."
        )
    value = values[name]
    more = training.greater_is_better
    more = "loss" not in name if more is None else more
    best = state.best_metric
    gain = math.inf if best is None else (value - best if more else best - value)
    if not math.isfinite(value) or gain <= training.early_stopping_threshold:
        state.waited += 1
        return False
    state.best_metric, state.best_step, state.waited = value, state.step, 0
    return True
