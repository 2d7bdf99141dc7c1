"""A stage of the recipe: one task trained to its end, resumed from its newest checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_unflatten

from ...errors import CheckpointError
from ..adapters import trainable
from ..config import ModelSection, TrainConfig, TrainingSection
from ..sections import Component
from ..state import Checkpoints, find_checkpoint, read_arrays, weights_file
from ..tasks.base import PLACES, Task, component_module
from ..trained import EXTRA
from ..trainer import Samples, Trainer

SEED = 20261121


def stage_config(folder: Path, component: Component, **training: Any) -> TrainConfig:
    """Make a stage's configuration.

    Evaluation losses are only logged: the last weights are used, as the learning rate ends at 0.

    Args:
        folder: the stage's output folder.
        component: trained from scratch.
        training: fields of `TrainingSection`, in place of the recipe's defaults.
    """
    defaults: dict[str, Any] = {
        "output_dir": str(folder),
        "lr_scheduler_type": "cosine",
        "warmup_steps": 50,
        "weight_decay": 0.01,
        "adam_beta2": 0.98,
        "logging_steps": 25,
        "eval_steps": 250,
        "save_steps": 250,
        "save_total_limit": 1,
        "load_best_model_at_end": False,
        "spoken_samples": False,
        "max_steps": 1,
    }
    return TrainConfig(
        model=ModelSection(init="scratch", train_components=[component]),
        training=TrainingSection(**(defaults | training)),
        seed=SEED,
    )


def run_stage(
    config: TrainConfig,
    networks: nn.Module,
    task: Task,
    train: Samples,
    evaluation: Samples | None = None,
) -> None:
    """Train the task's network to the end, from the stage's newest checkpoint if there is one.

    Args:
        config: from `stage_config`.
        networks: a module with the task's network at its place in `PLACES`; trained in place.
    """
    trainable(networks, [task.module(networks)])
    trainer = Trainer(config, networks, [task], train, evaluation)
    folder = Path(config.training.output_dir)
    if Checkpoints(folder).newest() is not None:
        trainer.resume(folder)
    trainer.fit()


def load_stage_weights(networks: nn.Module, folder: Path, component: str) -> int:
    """Load a stage's newest weights into the networks.

    Returns:
        the training step that they were saved at.

    Raises:
        CheckpointError: the stage has no checkpoint, or one of another architecture.
    """
    checkpoint = find_checkpoint(folder)
    prefix = f"{PLACES[component]}."
    weights = {
        key.removeprefix(prefix): value
        for key, value in read_arrays(weights_file(checkpoint)).items()
        if not key.startswith(EXTRA)
    }
    module = component_module(networks, component)
    expected = dict(tree_flatten(module.parameters()))
    if expected.keys() != weights.keys():
        raise CheckpointError(
            f"{checkpoint} was trained with other sizes of {component} than pocket's today: delete "
            f"{folder} and train the stage again."
        )
    module.update(tree_unflatten(list(weights.items())))
    mx.eval(module.parameters())
    return int(checkpoint.name.rsplit("-", 1)[-1])
