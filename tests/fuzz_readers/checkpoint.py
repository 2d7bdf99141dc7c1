"""Readers of a checkpoint folder's files. What can be read is spoken with, on the pocket model."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import numpy as np

from mlx_chatterbox.config import CONFIG_NAME
from tests.fuzz_damage import damage_bytes, damage_json
from tests.fuzzing import Reader


@cache
def pocket() -> Path:
    """The folder of the model in the package."""
    import mlx_chatterbox

    return Path(mlx_chatterbox.__file__).parent / "pocket"


def with_file(path: Path, name: str) -> Path:
    """A copy of the pocket model's folder, beside a file that takes the place of one of its own."""
    folder = path.parent / "model"
    folder.mkdir()
    for file in pocket().iterdir():
        if file.is_file() and file.name != name:
            os.symlink(file, folder / file.name)
    os.replace(path, folder / name)
    return folder


def speak(folder: Path) -> np.ndarray:
    """A word by the model in a folder, cut off after a few tokens."""
    from mlx_chatterbox import ChatterboxTTS

    tts = ChatterboxTTS.from_local(folder)
    return tts.generate("Yes.", seed=0, max_new_tokens=3, n_cfm_timesteps=1, watermark=False)


def read_config(path: Path) -> None:
    speak(with_file(path, CONFIG_NAME))


READERS = (
    Reader(
        "config",
        read_config,
        lambda: [(pocket() / CONFIG_NAME).read_bytes()],
        (damage_json, damage_json, damage_bytes),
        quick=60,
    ),
)
