"""The training configuration, as `loading` reads it from a YAML file. Nothing here imports MLX."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

from ..errors import ConfigError
from .config_options import option
from .sections import DatasetSection, LoraConfig, ModelSection, TrainingSection, WandbSection
from .yaml_lines import error_at


@dataclass
class TrainConfig:
    """A training configuration: the sections, the seed and the device.

    Attributes:
        notes: settings that were accepted but have no effect, a line each.
        places: file and line of each key that is set, for the errors of later checks.
        all_given: every key is set: the saved configuration of a run.
    """

    model: ModelSection = option(factory=ModelSection, doc="")
    dataset: DatasetSection = option(factory=DatasetSection, doc="")
    training: TrainingSection = option(factory=TrainingSection, doc="")
    wandb: WandbSection = option(factory=WandbSection, doc="")
    seed: int = option(42, "seed of all random choices: same seed, same run", low=0, high=2**64 - 1)
    device: Literal["auto", "gpu", "cpu", "mps", "cuda"] | None = option(
        None, "`cpu` computes on the processor; anything else on MLX's default device"
    )
    notes: list[str] = field(default_factory=list, repr=False, compare=False)
    places: dict[str, str] = field(default_factory=dict, repr=False, compare=False)
    all_given: bool = field(default=False, repr=False, compare=False)

    @property
    def lora(self) -> LoraConfig | None:
        return self.model.lora

    @property
    def trackers(self) -> list[str]:
        """Names of the trackers that get the metrics besides metrics.jsonl."""
        named = [name for name in self.training.report_to if name != "none"]
        return [*dict.fromkeys([*named, *(["wandb"] if self.wandb.enabled else [])])]

    def fail(self, key: str, message: str) -> ConfigError:
        """Return the error to raise about a key, with the file and line that set it."""
        where = self.places.get(key) or self.places.get("", "configuration")
        return error_at(where, message)

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain values that `load_config` reads back equal."""
        values = dataclasses.asdict(self)
        for name in ("notes", "places", "all_given"):
            del values[name]
        return values
