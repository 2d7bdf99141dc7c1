"""Makes the samples of each step, in the order of the plan, ahead of time in threads."""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from ..runtime.threads import compute_in_this_thread
from .config import TrainConfig
from .distributed import Group
from .samples import TRAINING, Samples, sample_key


class Feed:
    """Gives a trainer its batches.

    Args:
        train: the training set.
        total_steps: batches to yield, at most.
    """

    def __init__(self, config: TrainConfig, train: Samples, group: Group, total_steps: int):
        self._config, self._train, self._group = config, train, group
        self._total_steps = total_steps

    def upcoming(
        self, pool: ThreadPoolExecutor, epoch: int, first: int
    ) -> Iterator[tuple[int, int, list[Future]]]:
        """Yield epoch, batch and this machine's samples, while the next batch is being made.

        Args:
            epoch, first: the epoch and the batch in it to begin with.
        """
        workers = self._config.training.dataloader_num_workers
        ahead: list[tuple[int, int, list[Future]]] = []
        for at, place, indices in self._places(epoch, first):
            indices = self._group.share(indices) or [-1 - indices[0]]
            futures = [self._submit(pool, workers, at, index) for index in indices]
            ahead.append((at, place, futures))
            if len(ahead) > (1 if workers else 0):
                yield ahead.pop(0)
        yield from ahead

    def _places(self, epoch: int, first: int) -> Iterator[tuple[int, int, list[int]]]:
        for _ in range(self._total_steps + 1):
            batches = self._train.plan.epoch(epoch)
            for place in range(first, len(batches)):
                yield epoch, place, batches[place]
            epoch, first = epoch + 1, 0
            if self._config.training.max_steps is None and (
                epoch >= math.ceil(self._config.training.num_train_epochs)
            ):
                return

    def _submit(self, pool: ThreadPoolExecutor, workers: int, epoch: int, index: int) -> Future:
        """Start making a sample; a negative index makes a stand-in, which does not count."""
        clip = index if index >= 0 else -1 - index
        key = sample_key(self._config.seed, TRAINING, epoch, clip)

        def make() -> tuple[dict, bool]:
            compute_in_this_thread()
            return {**self._train.make(clip, key), "key": key}, index >= 0

        if workers:
            return pool.submit(make)
        future: Future = Future()
        future.set_result(make())
        return future
