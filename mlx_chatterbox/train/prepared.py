"""A model made ready for training: loaded, grown, with adapters, its trainable weights chosen."""

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
        checkpoint: the base model, its networks holding adapters and new rows as configured.
        tasks: one for each trained component.
        followed: what the base decides, for people; see `base_lines`.
    """

    checkpoint: Checkpoint
    tasks: list
    followed: str

    @property
    def trained_weights(self) -> dict[str, int]:
        """How many numbers are trained, by component."""
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
    """Load the model and make ready what is trained of it.

    What the configuration leaves open is filled in on the way, by `follow_base`.
    """
    checkpoint = base_model.open_base(config, progress)
    followed = base_lines(config, checkpoint.config)
    follow_base(config, checkpoint.config)
    if config.model.new_tokens:
        checkpoint = extend_vocabulary(checkpoint, config.model.new_tokens)
    with seeded(config.seed):  # heads draw their first weights
        tasks = make_tasks(config, checkpoint.config)
    networks, model = checkpoint.networks, config.model
    modules = [task.module(networks) for task in tasks]
    also = []
    if model.lora is not None:
        for task in tasks:
            if model.quantize_base is not None:
                quantize_base(networks, task.name, model.quantize_base)
            apply_lora(networks, task.name, model.lora, config.seed)
        # Adapters cannot teach rows that begin as the mean of all others.
        also = NEW_ROWS if model.new_tokens else []
    trainable(networks, modules, also)
    if config.training.gradient_checkpointing:
        for module in modules:
            checkpointing.enable(module)
    return PreparedModel(checkpoint, tasks, followed)
