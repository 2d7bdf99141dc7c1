"""HiFTNetModel: S3Gen's vocoder by itself, with the interface of Hugging Face's transformers.

That interface (pull request 42413) has mels as (B, 80, T) and sources as (B, 1, samples); ours
beneath it has channels last. Beyond it: rows of different lengths, and seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from ..errors import SettingError
from ..models.config import ModelConfig, QuantizationConfig
from ..models.s3gen.batch import stack_padded, waveforms_of
from ..models.s3gen.config import HiFTNetConfig
from ..models.s3gen.hift import HiFTGenerator
from ..runtime.seeds import Seed, row_keys
from ..runtime.threads import compute_in_this_thread
from ..weights.s3gen_store import VOCODER, dtype_name, in_whole, read_part, save_vocoder
from .arrays import ArrayLike, broadcast_rows, is_mlx, split_rows, to_caller_library, to_mlx


class HiFTNetModel(nn.Module):
    """Mel spectrogram to waveform.

    Arrays of any library are taken; see `api/arrays.py` for what comes back.

    Attributes:
        config: hyperparameters.
        mel2wav: the network.
        quantization: rules of the quantized layers, by their names in a whole checkpoint.
    """

    main_input_name = "speech_feat"

    def __init__(self, config: HiFTNetConfig | None = None):
        """A vocoder with random weights; `config` by default is transformers' default, 22.05 kHz.

        S3Gen's own is `models.s3gen.config.chatterbox_hift()`.
        """
        super().__init__()
        self.config = HiFTNetConfig() if config is None else config
        self.mel2wav = HiFTGenerator(self.config)
        self.quantization = QuantizationConfig()
        self.eval()

    @classmethod
    def around(cls, network: HiFTGenerator) -> HiFTNetModel:
        """Wrap an existing network, whose weights are shared."""
        model = cls.__new__(cls)
        nn.Module.__init__(model)
        model.config = network.config
        model.mel2wav = network
        model.quantization = QuantizationConfig()
        model.train(network.training)
        return model

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        *,
        dtype: str | None = None,
        config: HiFTNetConfig | None = None,
    ) -> HiFTNetModel:
        """Load the vocoder of a model, or one that was saved by itself.

        Args:
            name: what `S3GenModel.from_pretrained` takes, or a folder of `save_pretrained`.
            dtype: "float32", "float16" or "bfloat16" instead of the weights' own.
            config: hyperparameters, where the folder states none and they are not the usual ones.

        Raises:
            CheckpointError, HubError: see there.
        """
        part = read_part(name, dtype, VOCODER)
        config = config or part.config.s3gen.hift
        config.check_layers(len(part.weights), name)
        model = cls(config)
        part.fill(in_whole(model))
        model.quantization = part.config.quantization
        model.eval()
        return model

    def save_pretrained(self, folder: str | Path, layout: str = "mlx") -> Path:
        """Save into a folder, as `S3GenModel.save_pretrained`."""
        config = ModelConfig(dtype=dtype_name(self._dtype), quantization=self.quantization)
        config.s3gen.hift = self.config
        return save_vocoder(in_whole(self), config, folder, layout)

    @property
    def samples_per_frame(self) -> int:
        """Waveform samples of one mel frame: 480 in S3Gen."""
        return self.mel2wav.samples_per_frame

    def inference(
        self,
        speech_feat: ArrayLike,
        cache_source: ArrayLike | None = None,
        *,
        speech_feat_lens: ArrayLike | None = None,
        seed: Seed = None,
    ) -> tuple[mx.array | np.ndarray, mx.array | np.ndarray]:
        """Vocode.

        Args:
            speech_feat: (B, 80, T) log-mel at 50 frames/s.
            cache_source: (B, 1, k) or (1, 1, k), the beginning of the excitation: the end of an
                earlier call's, so that a stream has no seam. None or k = 0: none.
            speech_feat_lens: (B,) mel frames of each row; the rest is padding.
            seed: of the excitation's random phases and noise; one number, for all rows alike, or
                one for each. None draws others each time.

        Returns:
            Waveforms (B, samples_per_frame T) within +-0.99, and the excitations that made them,
            (B, 1, samples_per_frame T); zeros after a shorter row.

        Raises:
            SettingError: shapes that do not fit.
        """
        mels = self._mels(speech_feat, speech_feat_lens)
        beginnings = source_cache_rows(cache_source, len(mels))
        waveforms, sources = waveforms_of(self.mel2wav, mels, row_keys(seed, len(mels)), beginnings)
        as_mlx = is_mlx(speech_feat)
        return (
            to_caller_library(stack_padded(waveforms), as_mlx),
            to_caller_library(stack_padded(sources)[:, None], as_mlx),
        )

    __call__ = inference

    def decode(self, x: ArrayLike, s: ArrayLike) -> mx.array | np.ndarray:
        """Mel (B, 80, T) and excitation (B, 1, samples_per_frame T) to waveforms, as long."""
        mel, source = to_mlx(x), to_mlx(s)
        if mel.ndim != 3 or mel.shape[1] != self.config.in_channels or source.ndim != 3:
            raise SettingError(
                f"x has shape {tuple(mel.shape)} and s {tuple(source.shape)}; they must be "
                f"(B, {self.config.in_channels}, T) and (B, 1, samples)."
            )
        mel, source = mel.swapaxes(1, 2).astype(self._dtype), source[:, 0]
        if source.shape != (mel.shape[0], mel.shape[1] * self.samples_per_frame):
            raise SettingError(
                f"s has shape {tuple(s.shape)}; {mel.shape[1]} mel frames in {mel.shape[0]} row(s) "
                f"need ({mel.shape[0]}, 1, {mel.shape[1] * self.samples_per_frame})."
            )
        return to_caller_library(self.mel2wav.decode(mel, source), is_mlx(x))

    @property
    def _dtype(self) -> mx.Dtype:
        return self.mel2wav.conv_pre.weight.dtype

    def _mels(self, speech_feat: ArrayLike, lengths: ArrayLike | None) -> list[mx.array]:
        compute_in_this_thread()
        rows: list[mx.array] | mx.array
        if isinstance(speech_feat, (list, tuple)):
            rows = [_turned(to_mlx(row)) for row in speech_feat]
        else:
            rows = _turned(to_mlx(speech_feat))
        mels = split_rows(rows, lengths, "speech_feat", "speech_feat_lens", axes=1)
        if any(mel.shape[1] != self.config.in_channels for mel in mels):
            raise SettingError(
                f"speech_feat has {mels[0].shape[1]} mel bins; it must be "
                f"(B, {self.config.in_channels}, T)."
            )
        return [mel.astype(self._dtype) for mel in mels]


def _turned(mel: mx.array) -> mx.array:
    """(..., 80, T) as (..., T, 80)."""
    if mel.ndim < 2:
        raise SettingError(f"speech_feat has shape {tuple(mel.shape)}; it must be (B, 80, T).")
    return mel.swapaxes(-1, -2)


def source_cache_rows(cache_source: ArrayLike | None, rows: int) -> Sequence[mx.array | None]:
    """The beginning of each row's excitation, (k,), from transformers' (B, 1, k).

    Raises:
        SettingError: another shape, or neither one nor one for each row.
    """
    if cache_source is None:
        return [None] * rows
    cache = to_mlx(cache_source)
    if cache.ndim != 3 or cache.shape[1] != 1:
        raise SettingError(f"cache_source has shape {tuple(cache.shape)}, not (B, 1, k).")
    return broadcast_rows(list(cache[:, 0]), rows, "cache_source")
