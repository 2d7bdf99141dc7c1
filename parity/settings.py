"""The settings of `python -m parity run`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass
class RunSettings:
    """Settings of `run`: the command line's options, under their names."""

    variant: str | None = None
    t3_file: str | None = None
    weights: Path | str | None = None
    work: Path | None = None
    seed: int = 0
    audio: Path | None = None
    reference_python: Path | None = None
    precisions: tuple[str, ...] = ("float32",)
    weights_name: str | None = None  # how to call the weights; set by `weights.located`
