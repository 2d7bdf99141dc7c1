"""One stage of the recipe: a task, its data, the trainer; taken up where it was left."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_unflatten

from ..adapters import trainable
from ..config import ModelSection, TrainConfig, TrainingSection
from ..state import Checkpoints, find_checkpoint, read_arrays, weights_file
from ..tasks.base import PLACES, Task, component_module
from ..trained import EXTRA
from ..trainer import Samples, Trainer

SEED = 20261121


def settings(folder: Path, name: str, **training) -> TrainConfig:
    """A stage's configuration; `training` are fields of `TrainingSection`.

    Evaluations are there to be read; the last weights are taken, as the learning rate ends at 0.
    """
    usual = {
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
        model=ModelSection(init="scratch", train_components=[name]),
        training=TrainingSection(**(usual | training)),
        seed=SEED,
    )


def run(
    config: TrainConfig,
    networks: nn.Module,
    task: Task,
    train: Samples,
    evaluation: Samples | None = None,
) -> None:
    """Train the task's network to the end, from the stage's newest checkpoint if there is one."""
    trainable(networks, [task.module(networks)])
    trainer = Trainer(config, networks, [task], train, evaluation)
    folder = Path(config.training.output_dir)
    if Checkpoints(folder).newest() is not None:
        trainer.resume(folder)
    trainer.fit()


def is_finished(folder: Path) -> bool:
    """Whether a stage came to its end."""
    from ..state import read_state

    newest = Checkpoints(folder).newest() if folder.is_dir() else None
    return newest is not None and read_state(newest).finished


def take(networks: nn.Module, folder: Path, component: str) -> int:
    """Put a stage's newest weights into the networks.

    Returns:
        at which step they are.

    Raises:
        CheckpointError: the stage has none.
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
        from ...errors import CheckpointError

        raise CheckpointError(f"{checkpoint} does not fit the {component} of the pocket model.")
    module.update(tree_unflatten(list(weights.items())))
    mx.eval(module.parameters())
    return int(checkpoint.name.rsplit("-", 1)[-1])
