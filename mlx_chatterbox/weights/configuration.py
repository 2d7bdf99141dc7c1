"""The configuration of a converted checkpoint of any family."""

from __future__ import annotations

from pathlib import Path

from ..models.chattts.config import ChatTTSConfig
from ..models.config import CheckpointConfig, ModelConfig
from .hub import family_of

_CONFIGURATIONS: dict[str, type[CheckpointConfig]] = {
    kind.MODEL_TYPE: kind for kind in (ModelConfig, ChatTTSConfig)
}


def read_config(folder: str | Path) -> CheckpointConfig:
    """Read `config.json`; errors as of `CheckpointConfig.load`."""
    return _CONFIGURATIONS.get(family_of(Path(folder)) or "", ModelConfig).load(folder)
