"""Prepares a model for training: loads and extends it, adds adapters, freezes the rest."""

from __future__ import annotations

from dataclasses import dataclass

from mlx.utils import tree_flatten

from ..runtime.progress import Bars
from ..weights.checkpoint import Checkpoint
from . import base_model, checkpointing
from .adapters import apply_lora, quantize_base, trainable
from .components import make_tasks
from .config import TrainConfig
from .follow import base_lines, follow_base
from .trained import seeded
from .vocabulary import extend_vocabulary

NEW_ROWS = ["t3.text_emb.weight", "t3.text_head.weight"]


@dataclass
class PreparedModel:
    """A model ready to be trained.

    Attributes:
        checkpoint: the base model, with adapters and new rows as configured.
        tasks: one for each trained component.
        followed: description of the settings that the base decides; see `base_lines`.
    """

    checkpoint: Checkpoint
    tasks: list
    followed: str

    @property
    def trained_weights(self) -> dict[str, int]:
        """Number of trained parameters by component."""
        networks = self.checkpoint.networks
        return {
            task.name: sum(
                value.size
                for value in dict(
                    tree_flatten(task.module(networks).trainable_parameters())
                ).values()
            )
            for task in self.tasks
        }


def prepare(config: TrainConfig, progress: Bars | None = None) -> PreparedModel:
    """Load the model and prepare the trained components.

    Settings that the configuration leaves out are set in it, by `follow_base`.
    """
    checkpoint = base_model.open_base(config, progress)
    followed = base_lines(config, checkpoint.config)
    follow_base(config, checkpoint.config)
    if config.model.new_tokens:
        checkpoint = extend_vocabulary(checkpoint, config.model.new_tokens)
    with seeded(config.seed):  # for the first weights of heads
        tasks = make_tasks(config, checkpoint.config)
    networks, model = checkpoint.networks, config.model
    modules = [task.module(networks) for task in tasks]
    also = []
    if model.lora is not None:
        for task in tasks:
            if model.quantize_base is not None:
                quantize_base(networks, task.name, model.quantize_base)
            apply_lora(networks, task.name, model.lora, config.seed)
        # Adapters cannot train new rows, which all start as the same mean.
        also = NEW_ROWS if model.new_tokens else []
    trainable(networks, modules, also)
    if config.training.gradient_checkpointing:
        for module in modules:
            checkpointing.enable(module)
    return PreparedModel(checkpoint, tasks, followed)
