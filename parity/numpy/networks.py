"""Upstream's weights and the networks that plain NumPy computes with them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mlx_chatterbox.weights.conversion.sources import find_source
from mlx_chatterbox.weights.formats.unpickle import load_torch

from ..dumps import read_dump
from . import encoders, flash_stage
from . import vocoder as vocoders
from .layers import Weights


class NumpyNetworks:
    """The small networks of a folder of upstream's files, in float64.

    Args:
        folder: upstream's files.
        config: `config.json` of ours as plain values: what weights do not tell, such as heads.
        s3gen_file, voice_encoder_file, t3_file: names in it.
    """

    def __init__(
        self,
        folder: str | Path,
        config: Mapping[str, Any],
        s3gen_file: str = "s3gen.safetensors",
        voice_encoder_file: str = "ve.safetensors",
        t3_file: str = "t3_flash.safetensors",
    ):
        self._folder, self._config = Path(folder), config
        self._t3_file = t3_file
        self._s3gen_file, self._voice_encoder_file = s3gen_file, voice_encoder_file

    @cached_property
    def _s3gen(self) -> Weights:
        return Weights(_read(self._folder / self._s3gen_file))

    @cached_property
    def _voice_encoder(self) -> Weights:
        return Weights(_read(self._folder / self._voice_encoder_file))

    @property
    def _hift(self) -> Mapping[str, Any]:
        return self._config["s3gen"]["hift"]

    def blocks(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs of the stage `flash`; none of a T3 without a mask."""
        config = self._config["t3"]
        if not config.get("has_mask"):
            return {}
        return flash_stage.blocks(Weights(_read(self._folder / self._t3_file)), config, inputs)

    def voice_embedding(self, mel: np.ndarray) -> np.ndarray:
        """(T, 40) -> (1, 256)."""
        return encoders.voice_embedding(self._voice_encoder, mel)

    def codes(self, log_mel: np.ndarray) -> np.ndarray:
        """(128, T) -> (T / 4, 8)."""
        heads = self._config["s3_tokenizer"]["n_audio_head"]
        return encoders.tokenizer_codes(self._s3gen.at("tokenizer"), log_mel, heads)

    def tokens(self, log_mel: np.ndarray) -> np.ndarray:
        """(128, T), up to 30 s, -> (T / 4,)."""
        return encoders.fsq_tokens(self.codes(log_mel))

    def speaker_embedding(self, fbank: np.ndarray) -> np.ndarray:
        """(T, 80) -> (1, 192)."""
        return encoders.speaker_embedding(self._s3gen.at("speaker_encoder"), fbank)

    def f0(self, mel: np.ndarray) -> np.ndarray:
        """(T, 80) -> (T,)."""
        return vocoders.f0(self._s3gen.at("mel2wav"), mel)

    def excitation(self, pitch: np.ndarray, phases: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """(T,), (harmonics,), (480 T, harmonics) -> (480 T,)."""
        vocoder = self._s3gen.at("mel2wav")
        return vocoders.excitation(vocoder, pitch, phases, noise, self._hift)

    def waveform(self, mel: np.ndarray, source: np.ndarray) -> np.ndarray:
        """(T, 80), (480 T,) -> (480 T,)."""
        return vocoders.waveform(self._s3gen.at("mel2wav"), mel, source, self._hift)


def networks_of(
    folder: str | Path, config, variant: str | None = None, t3_file: str | None = None
) -> NumpyNetworks:
    """The networks of a folder of upstream's files, whatever these are called in it.

    Args:
        config: `ModelConfig`.
        t3_file: T3's, if it has a name of its own.

    Raises:
        CheckpointError: they are not there.
    """
    row = find_source(Path(folder), variant, t3_file)
    files = (row.s3gen_file, row.voice_encoder_file, row.t3_file)
    return NumpyNetworks(folder, config.to_dict(), *files)


def _read(path: Path) -> Mapping[str, np.ndarray]:
    """The tensors of a file, .pt ones through the converter's reader."""
    if path.suffix != ".pt":
        return read_dump(path)
    return {name: np.asarray(value) for name, value in load_torch(path).items()}
