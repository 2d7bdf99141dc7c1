"""Chatterbox in MLX: text and a short reference recording in, speech in that voice out.

The public names are loaded when they are first used, so that `--help`, reading a configuration or
a saved voice do not wait for the networks. On Linux a fast BLAS is looked up here, and settings for
CUDA are made, because that must come before `mlx.core` is imported.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from ._version import __version__

# `_begin` does its work when it is imported, before all else that takes time.
from .runtime import begin as _begin  # noqa: F401
from .runtime import linux_cpu as _linux_cpu
from .runtime import mlx_settings as _mlx_settings

_linux_cpu.prepare()
_mlx_settings.prepare()


_PUBLIC = {
    "ChatterboxFlashTTS": ".api.flash",
    "ChatterboxMultilingualTTS": ".api.tts",
    "ChatterboxTTS": ".api.tts",
    "ChatterboxTurboTTS": ".api.tts",
    "ChatterboxVC": ".api.vc",
    "SUPPORTED_LANGUAGES": ".text.multilingual",
    "Voice": ".voices.voice",
    "ChatterboxError": ".errors",
    "Chunks": ".synthesis.streaming",
    "DecodingEngine": ".models.decoder.engine",
    "HiFTNetConfig": ".models.s3gen.config",
    "HiFTNetModel": ".api.hiftnet_model",
    "RowRequest": ".models.t3.requests",
    "S3GenConfig": ".models.s3gen.config",
    "S3GenModel": ".api.s3gen_model",
}

__all__ = [
    "SUPPORTED_LANGUAGES",
    "ChatterboxError",
    "ChatterboxFlashTTS",
    "ChatterboxMultilingualTTS",
    "ChatterboxTTS",
    "ChatterboxTurboTTS",
    "ChatterboxVC",
    "Chunks",
    "DecodingEngine",
    "HiFTNetConfig",
    "HiFTNetModel",
    "RowRequest",
    "S3GenConfig",
    "S3GenModel",
    "Voice",
    "__version__",
]

if TYPE_CHECKING:
    from .api.flash import ChatterboxFlashTTS
    from .api.hiftnet_model import HiFTNetModel
    from .api.s3gen_model import S3GenModel
    from .api.tts import ChatterboxMultilingualTTS, ChatterboxTTS, ChatterboxTurboTTS
    from .api.vc import ChatterboxVC
    from .errors import ChatterboxError
    from .models.decoder.engine import DecodingEngine
    from .models.s3gen.config import HiFTNetConfig, S3GenConfig
    from .models.t3.requests import RowRequest
    from .synthesis.streaming import Chunks
    from .text.multilingual import SUPPORTED_LANGUAGES
    from .voices.voice import Voice


def __getattr__(name: str):
    if name in _PUBLIC:
        value = getattr(import_module(_PUBLIC[name], __name__), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
