"""Configurations of training."""

from __future__ import annotations

from pathlib import Path

from tests.fuzz_damage import damage_bytes, damage_text
from tests.fuzzing import Reader


def read(path: Path) -> None:
    from mlx_chatterbox.train.loading import load_config

    load_config(path)


def configurations() -> list[bytes]:
    text = (
        "# a voice\nmodel: &m\n  freeze_components: [voice_encoder, s3gen]\ndataset:\n"
        "  dataset_path: ./data  # rows\ntraining:\n  output_dir: 'out'\n  learning_rate: 2e-5\n"
        "  num_train_epochs: 3\n  seed: 1_000\n  logging_steps: 10\n"
    )
    return [text.encode()]


READERS = (Reader("yaml", read, configurations, (damage_text, damage_text, damage_bytes), ".yaml"),)
