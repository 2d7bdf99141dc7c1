"""`config.json`: everything needed to build a model's networks, and where its weights came from."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .config_base import Config
from .errors import CheckpointError
from .models.s3gen.config import S3GenConfig
from .models.s3tokenizer.config import S3TokenizerConfig
from .models.t3.config import T3Config
from .models.voice_encoder.config import VoiceEncoderConfig

CONFIG_NAME = "config.json"
MODEL_TYPE = "chatterbox"
DTYPES = ("float32", "float16", "bfloat16")


@dataclass
class ModelConfig(Config):
    """A whole model. `source` says where the weights came from (folder or repository, hashes)."""

    variant: str = "english"
    dtype: str = "float32"
    t3: T3Config = field(default_factory=T3Config)
    s3gen: S3GenConfig = field(default_factory=S3GenConfig)
    s3_tokenizer: S3TokenizerConfig = field(default_factory=S3TokenizerConfig)
    voice_encoder: VoiceEncoderConfig = field(default_factory=VoiceEncoderConfig)
    source: dict = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return {"model_type": MODEL_TYPE, **super().to_dict()}

    @classmethod
    def load(cls, folder: str | Path) -> ModelConfig:
        """Read `config.json` of a checkpoint folder.

        Raises:
            CheckpointError: no such file, not JSON, another model type, or an unknown key.
        """
        path = Path(folder) / CONFIG_NAME
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise CheckpointError(
                f"{path} is missing: {folder} is no converted checkpoint."
            ) from None
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path} cannot be read: {error}.") from None
        if not isinstance(values, dict) or values.pop("model_type", None) != MODEL_TYPE:
            raise CheckpointError(f'{path} does not say "model_type": "{MODEL_TYPE}".')
        config = cls.from_dict(values)
        if config.dtype not in DTYPES:
            raise CheckpointError(f"{path}: dtype {config.dtype!r} is none of {', '.join(DTYPES)}.")
        return config

    def save(self, folder: str | Path) -> Path:
        """Write `config.json` into `folder`, whole or not at all."""
        path = Path(folder) / CONFIG_NAME
        temporary = path.with_name(path.name + ".tmp")
        temporary.write_text(json.dumps(self.to_dict(), indent=2) + "\n", encoding="utf-8")
        os.replace(temporary, path)
        return path
