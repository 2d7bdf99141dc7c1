"""A small ChatTTS in upstream's files, whose vocabulary is the published one."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import mlx.core as mx

from mlx_chatterbox.models.chattts.config import ChatTTSConfig
from mlx_chatterbox.parity.fabricate.chattts import fabricate_chattts
from tests.models.small_chattts import small_chattts


def small_published() -> ChatTTSConfig:
    """Build the configuration."""
    config = small_chattts()
    # Wide enough for every layer to be quantised.
    gpt = dataclasses.replace(config.gpt, intermediate_size=64)
    tokens = {"num_text_tokens": 21178, "stop_text_token": 21136, "speaker_token": 21143}
    return dataclasses.replace(config, gpt=dataclasses.replace(gpt, **tokens))


def write_upstream(folder: Path, statistics: bool = True) -> Path:
    """Write the files."""
    fabricate_chattts(folder, small_published(), seed=4)
    if not statistics:
        (folder / "asset/spk_stat.pt").unlink()
    return folder


def change(folder: Path, file: str, edit) -> None:
    """Edit the tensors of a file: `edit` gets them by key, and changes the dict."""
    tensors = dict(mx.load(str(folder / file)))
    mx.eval(tensors)
    edit(tensors)
    # A new file: others may be hard links to the old one.
    (folder / file).unlink()
    mx.save_safetensors(
        str(folder / file), {key: mx.contiguous(mx.array(value)) for key, value in tensors.items()}
    )
