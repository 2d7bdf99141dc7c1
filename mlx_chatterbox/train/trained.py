"""One task in training: its weights, its optimizer, gradients of a batch, losses of an evaluation.

The denominators of a loss are counted over the whole global batch before any gradient is computed,
so the results of micro-batches and machines are summands: nothing depends on how a batch is
divided.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import cast

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten, tree_unflatten

from .distributed import Group
from .optimizer import Optimizer, OptimizerSettings

EXTRA = "extra."


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed MLX's global generator, which new layers draw from; restore its state afterwards."""
    state = cast("list[mx.array]", mx.random.state)  # MLX's stub has no type for it
    high, low = (int(word) for word in np.array(state[0]))
    mx.random.seed(seed)
    try:
        yield
    finally:
        mx.random.seed(high << 32 | low)


def key_prefix(networks: nn.Module, module: nn.Module) -> str:
    """Return the prefix of a module's keys in `model.safetensors`."""
    for path, candidate in networks.named_modules():
        if candidate is module:
            return f"{path}." if path else ""
    raise ValueError("the module is not part of the networks.")


class TrainedTask:
    """A task with everything that changes while it is trained.

    Args:
        task: see `tasks.base.Task`.
        networks: all networks; the trainable parameters of the task's module are trained.
        adapters: checkpoints keep only the trainable weights, not whole modules.
    """

    def __init__(self, task, networks: nn.Module, settings: OptimizerSettings, adapters: bool):
        self.task = task
        self._judged = task.for_evaluation()
        self.networks = networks
        self._adapters = adapters
        self._modules = {key_prefix(networks, task.module(networks)): task.module(networks)}
        extra = task.extra_module(networks)
        if extra is not None:
            self._modules[f"{EXTRA}{task.name}."] = extra
        if settings.dtype != "float32":
            for module in self._modules.values():
                module.set_dtype(getattr(mx, settings.dtype))
        self.optimizer = Optimizer(settings, self._trainable())
        self._gradients = mx.value_and_grad(self._scaled_loss)
        # A compiled function would miss changes of running statistics.
        if settings.compile and not any(".running_" in key for key in self._others()):
            self._gradients = mx.compile(self._gradients)

    @property
    def name(self) -> str:
        return self.task.name

    def train(self, mode: bool = True) -> None:
        """Switch the modules to training or evaluation."""
        for module in self._modules.values():
            module.train(mode)

    # --- Weights ---------------------------------------------------------------------------------

    def _trainable(self) -> dict[str, mx.array]:
        return {
            prefix + key: value
            for prefix, module in self._modules.items()
            for key, value in dict(tree_flatten(module.trainable_parameters())).items()
        }

    def _others(self) -> dict[str, mx.array]:
        """Return the other weights of a checkpoint: of whole modules everything not trainable.

        They include running statistics of batch norms; for adapters there are none.
        """
        return {
            prefix + key: value
            for prefix, module in self._modules.items()
            if not self._adapters or prefix.startswith(EXTRA)
            for key, value in dict(tree_flatten(module.parameters())).items()
            if prefix + key not in self.optimizer.master
        }

    def _put(self, arrays: Mapping[str, mx.array]) -> None:
        for prefix, module in self._modules.items():
            inside = [
                (key.removeprefix(prefix), value)
                for key, value in arrays.items()
                if key.startswith(prefix)
            ]
            if inside:
                module.update(tree_unflatten(inside))

    @property
    def weights(self) -> dict[str, mx.array]:
        """All weights of a checkpoint by key, the trained ones in float32."""
        return {**self._others(), **self.optimizer.master}

    @weights.setter
    def weights(self, arrays: Mapping[str, mx.array]) -> None:
        self.optimizer.master = {key: arrays[key] for key in self.optimizer.master}
        self._put({key: arrays[key] for key in self._others()})
        self._put(self.optimizer.weights())

    # --- Losses ----------------------------------------------------------------------------------

    def _scaled_loss(self, parameters, batch, totals, scale):
        self._put(parameters)
        loss, parts = self.task.loss(self.networks, batch, totals)
        return loss.astype(mx.float32) * scale, parts

    def batches(
        self, micro_batches: Sequence[list[dict]], is_mine: bool, training: bool = True
    ) -> tuple[list, dict]:
        """Collate micro-batches; returns them and the denominators of this machine's part.

        Args:
            training: samples may be without text or condition.
        """
        task = self.task if training else self._judged
        batches = [task.collate(samples) for samples in micro_batches]
        counts: dict[str, float] = {}
        for batch in batches:
            _add(counts, {k: float(v) * is_mine for k, v in task.counts(batch).items()})
        return batches, counts

    def step(
        self,
        batches: Sequence,
        totals: Mapping[str, float],
        is_mine: bool,
        learning_rate: float,
        group: Group,
    ) -> dict[str, float]:
        """One update from a global batch.

        Args:
            batches: this machine's part of it, collated. A machine without a part gets a stand-in
                with `is_mine` false, which has no weight.
            totals: denominators of the global batch.

        Returns:
            Loss, its parts and the gradients' norm by name; "finite" is 1 if the loss counts,
            "updates" if the norm does, "skipped" if the gradients overflowed.
        """
        # A part that no sample has is 0 / 1, not 0 / 0.
        divisors = {name: total or 1.0 for name, total in totals.items()}
        parameters = self._trainable()
        gradients: dict[str, mx.array] = {}
        sums: dict[str, float] = {}
        scale = self.optimizer.loss_scale.value
        for batch in batches:
            # Arrays: numbers would be compiled in, and differ in nearly every step.
            denominators = {name: mx.array(float(total)) for name, total in divisors.items()}
            factor = mx.array(float(scale * is_mine))
            (loss, parts), batch_gradients = self._gradients(
                parameters, batch, denominators, factor
            )
            for key in batch_gradients:
                gradient = batch_gradients[key].astype(mx.float32)
                gradients[key] = gradients[key] + gradient if key in gradients else gradient
            del batch_gradients
            mx.eval(loss, parts, gradients)
            _add(sums, {"loss": float(loss) / scale, **_numbers(parts, is_mine)})
        self._put(parameters)
        gradients, sums = group.sum_both(gradients, sums)
        norm, updated = self.optimizer.step(gradients, learning_rate)
        self._put(self.optimizer.weights())
        self._average_statistics(group)
        if updated:
            return {**sums, "gradient_norm": norm, "updates": 1.0, "finite": 1.0}
        # Overflow in float16; the loss itself may have overflowed too.
        if math.isfinite(sums["loss"]):
            return {**sums, "finite": 1.0, "skipped": 1.0}
        return {"skipped": 1.0}

    def _average_statistics(self, group: Group) -> None:
        """Average the running statistics of batch norms over the machines."""
        if group.size == 1:
            return
        running = {k: v / group.size for k, v in self._others().items() if ".running_" in k}
        if running:
            self._put(group.sum_arrays(running))

    def evaluate(
        self, micro_batches: Sequence[list[dict]], totals: Mapping[str, float]
    ) -> dict[str, float]:
        """Compute loss and parts of an evaluation set's micro-batches, to be summed."""
        divisors = {name: total or 1.0 for name, total in totals.items()}
        sums: dict[str, float] = {}
        for samples in micro_batches:
            batch = self._judged.collate(samples)
            loss, parts = self._judged.loss(self.networks, batch, divisors)
            mx.eval(loss, parts)
            _add(sums, {"loss": float(loss), **_numbers(parts, True)})
        return sums


def _numbers(parts: Mapping[str, mx.array], is_mine: bool) -> dict[str, float]:
    return {name: float(value) * is_mine for name, value in parts.items()}


def _add(sums: dict[str, float], values: Mapping[str, float]) -> None:
    for name, value in values.items():
        sums[name] = sums.get(name, 0.0) + value
