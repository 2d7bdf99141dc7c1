"""A folder that can be converted: what every layout is brought to before its tensors are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mlx_chatterbox.models.config import ModelConfig
from mlx_chatterbox.weights.shards import files_of
from mlx_chatterbox.weights.variants import Variant

from ..formats.tensor_reader import TensorReader
from .rules import ConversionPlan, Shapes

UPSTREAM, COMMUNITY, OURS = "upstream", "mlx-audio", "mlx-chatterbox"


@dataclass(frozen=True)
class Source:
    """What a folder holds, and how it is got at.

    Attributes:
        layout: `UPSTREAM`, `COMMUNITY` or `OURS`.
        row: the model in it; its file names are upstream's.
        weights: files with tensors, by the name that plans call them.
        texts: the tokenizer's files, by the name that a folder of ours has them under.
        voice: `conds.pt` or `conds.safetensors`, where there is a built-in voice.
        config: hyperparameters.
        plan: what becomes of the keys of `weights`.
        open: a reader of one of `weights`.
        own_types: rules for parts of another type than `config.dtype`, which hold where no type is
            asked for.
        notes: what people should know of it.
    """

    layout: str
    row: Variant
    weights: Mapping[str, Path]
    texts: Mapping[str, Path]
    voice: Path | None
    config: ModelConfig
    plan: Callable[[Mapping[str, Shapes]], ConversionPlan]
    open: Callable[[str], TensorReader]
    own_types: Sequence[dict] = ()
    notes: Callable[[ConversionPlan], Sequence[str]] = lambda plan: ()

    @property
    def files(self) -> dict[str, Path]:
        """Every file that the model is made from, by the name to note it under."""
        voice = {} if self.voice is None else {self.voice.name: self.voice}
        weights = {}
        for name, path in self.weights.items():
            for part in files_of(path):
                own = PurePosixPath(name).parent / part.relative_to(path.parent).as_posix()
                weights[name if part == path else str(own)] = part
        # Texts under the name that they have in the source.
        return {**weights, **{p.name: p for p in self.texts.values()}, **voice}


def present(folder: Path, names: Sequence[str]) -> dict[str, Path]:
    """Those of `names` that are files of the folder."""
    return {name: folder / name for name in names if (folder / name).is_file()}


def first_present(folder: Path, names: Sequence[str]) -> Path | None:
    """The first of `names` that is a file of the folder."""
    return next(iter(present(folder, names).values()), None)
