"""The description of a folder that can be converted, the same for every layout."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mlx_chatterbox.models.config import CheckpointConfig
from mlx_chatterbox.weights.shards import files_of

from ..formats.tensor_reader import TensorReader
from .rules import ConversionPlan, Shapes

UPSTREAM, COMMUNITY, OURS = "upstream", "mlx-audio", "mlx-chatterbox"


@dataclass(frozen=True)
class Source:
    """A model in a folder, and access to its tensors.

    Attributes:
        layout: `UPSTREAM`, `COMMUNITY` or `OURS`.
        variant: its name.
        weights: files with tensors, by their names in plans.
        texts: the tokenizer's files, by their names in a checkpoint of ours.
        voice: `conds.pt` or `conds.safetensors`, if there is a built-in voice.
        config: hyperparameters.
        plan: makes the plan, from the keys and shapes of each of `weights`.
        open: opens one of `weights`, by name.
        own_types: rules for parts of another type than `config.dtype`, which apply if no type is
            requested.
        notes: makes notes for the user, from the plan.
        statistics: of speakers, if ChatTTS's folder has them and they are to be converted.
    """

    layout: str
    variant: str
    weights: Mapping[str, Path]
    texts: Mapping[str, Path]
    voice: Path | None
    config: CheckpointConfig
    plan: Callable[[Mapping[str, Shapes]], ConversionPlan]
    open: Callable[[str], TensorReader]
    own_types: Sequence[dict] = ()
    notes: Callable[[ConversionPlan], Sequence[str]] = lambda plan: ()
    statistics: Path | None = None

    @property
    def files(self) -> dict[str, Path]:
        """List every file of the model, by the name to note it under."""
        others = {path.name: path for path in (self.voice, self.statistics) if path is not None}
        weights = {}
        for name, path in self.weights.items():
            for part in files_of(path):
                own = PurePosixPath(name).parent / part.relative_to(path.parent).as_posix()
                weights[name if part == path else str(own)] = part
        # Texts under the name that they have in the source.
        return {**weights, **{p.name: p for p in self.texts.values()}, **others}


def present(folder: Path, names: Sequence[str]) -> dict[str, Path]:
    """Select those of `names` that are files of the folder."""
    return {name: folder / name for name in names if (folder / name).is_file()}


def first_present(folder: Path, names: Sequence[str]) -> Path | None:
    """Find the first of `names` that is a file of the folder; None if none is."""
    return next(iter(present(folder, names).values()), None)
