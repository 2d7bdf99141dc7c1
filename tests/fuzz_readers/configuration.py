"""Configurations of training."""

from __future__ import annotations

from pathlib import Path

from tests.fuzz_damage import damage_bytes, damage_text
from tests.fuzzing import Reader


def read(path: Path) -> None:
    from mlx_chatterbox.train.config import load_config

    load_config(path)


def configurations() -> list[bytes]:
    text = (
        "# a voice\nmodel: &m\n  name: pocket\ndataset:\n  train: data.csv  # rows\n"
        "  languages: [en, de]\ntraining:\n  learning_rate: 1e-4\n  num_train_epochs: 3\n"
        "  output_dir: 'out'\n  seed: 1_000\n  logging_steps: 10\n"
    )
    return [text.encode()]


READERS = (Reader("yaml", read, configurations, (damage_text, damage_text, damage_bytes), ".yaml"),)
