"""The settings of `python -m parity run`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .tables.stage import CHATTTS

# Of the weights on which ChatTTS's own modules made the stored reference.
STORED_SEED = 2


@dataclass
class RunSettings:
    """Settings of `run`: the command line's options, under their names.

    Attributes:
        seed: None until the variant is known.
        only: names of stages, with `*` for any; the others are left out. None: all.
        weights_name: how to call the weights; set by `weights.located`.
    """

    variant: str | None = None
    t3_file: str | None = None
    weights: Path | str | None = None
    work: Path | None = None
    seed: int | None = None
    audio: Path | None = None
    reference_python: Path | None = None
    precisions: tuple[str, ...] = ("float32",)
    only: tuple[str, ...] | None = None
    weights_name: str | None = None

    def __post_init__(self):
        if self.seed is None and self.variant is not None:
            self.seed = default_seed(self.variant)


def default_seed(variant: str) -> int:
    """The seed of everything random, if none is chosen: that of the stored reference."""
    return STORED_SEED if variant == CHATTTS else 0
