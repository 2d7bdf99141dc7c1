"""mlx-audio's Chatterbox in memory; runs where mlx-audio is installed."""

from __future__ import annotations

import contextlib
from pathlib import Path

import huggingface_hub
import mlx.core as mx
from mlx_audio.tts.models.chatterbox import Model

from .mlx_audio_weights import TOKENIZER_FOLDER


def load(folder: Path):
    """Load a folder of mlx-audio's by its own code, with all weights in memory.

    It asks the hub for the speech tokenizer; here it is answered with the one in the folder.
    """
    original = huggingface_hub.snapshot_download
    huggingface_hub.snapshot_download = lambda **_: str(folder / TOKENIZER_FOLDER)
    try:
        # It prints as it goes.
        with contextlib.redirect_stdout(None):
            model = Model.from_pretrained(folder)
    finally:
        huggingface_hub.snapshot_download = original
    mx.eval(model.parameters())
    return model
