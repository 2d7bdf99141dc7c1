"""Training of the S3 tokenizer from scratch: codes from which a small decoder rebuilds the mel.

The published one was trained inside a speech recogniser. Here a decoder, discarded afterwards,
rebuilds S3Gen's mel from the quantised digits, whose rounding passes gradients straight through;
phone labels ("phones", where the data has them) make the codes represent the words as well as the
sound.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from ...errors import DataError
from ...models.s3tokenizer.config import S3TokenizerConfig
from ...models.s3tokenizer.windows import FRAMES_PER_TOKEN
from ...nn.conv import Conv1d
from .base import (
    Batch,
    MetricSums,
    Sample,
    Sums,
    Task,
    Totals,
    generator,
    keys_of,
    length_mask,
    padded,
    phones_of,
    total,
)

# S3Gen's log-mel of speech has about this mean and deviation.
MEL_MEAN, MEL_DEVIATION = -5.5, 2.5
MEL_FRAMES_PER_TOKEN = 2
SATURATION = 0.9990000128746033

_CROP = 1


class MelDecoder(nn.Module):
    """Digits (B, n, dims) to normalised mel (B, 2 n, 80) and phone logits (B, 2 n, phones)."""

    def __init__(self, dims: int, width: int, phones: int):
        super().__init__()
        self.enter = Conv1d(dims, width, 3, padding=1)
        self.middle = [Conv1d(width, width, 5, padding=2) for _ in range(3)]
        self.leave = nn.Linear(width, 80)
        if phones:
            self.phones = nn.Linear(width, phones)

    def __call__(self, digits: mx.array) -> tuple[mx.array, mx.array | None]:
        x = mx.repeat(self.enter(digits), MEL_FRAMES_PER_TOKEN, axis=1)
        for conv in self.middle:
            x = x + conv(nn.gelu(x))
        x = nn.gelu(x)
        return self.leave(x), self.phones(x) if "phones" in self else None


class TokenizerTask(Task):
    """L1 distance of the rebuilt mel ("mel") and, with labels, phones' cross-entropy ("phones").

    Samples need "log_mel_16k" (128, 4 n) or (4 n, 128), "mel" (2 n, 80) and, with `phones`,
    "phones" (2 n,) integers. The network has no padding mask, so all samples are cropped to one
    length; a shorter clip is extended by silence without loss.

    Args:
        config: the tokenizer's.
        tokens: length of the crops.
        active_dims: number of the quantiser's dimensions in use; the others always give the digit
            1. Fewer make a smaller vocabulary, for a small model. None: all.
        phones: number of phone labels; 0: samples have no labels.
        width: of the decoder.
        weights: of "mel" (default 1) and "phones" (0.3).
    """

    name = "s3_tokenizer"
    parts = ("mel", "phones")

    def __init__(
        self,
        config: S3TokenizerConfig,
        tokens: int = 48,
        active_dims: int | None = None,
        phones: int = 0,
        width: int = 256,
        weights: dict[str, float] | None = None,
    ):
        super().__init__({"phones": 0.3, **(weights or {})})
        self.config, self.tokens, self.phones = config, tokens, phones
        self.active_dims = config.quantizer_dims if active_dims is None else active_dims
        self.features = frozenset({"log_mel_16k", "mel", *(["phones"] if phones else [])})
        self._decoder = MelDecoder(config.quantizer_dims, width, phones)

    def extra_module(self, networks: nn.Module) -> nn.Module:
        return self._decoder

    def begin(self, networks: nn.Module, speakers: Iterable[str]) -> None:
        self.disable_unused_dims(networks)

    def disable_unused_dims(self, networks: nn.Module) -> None:
        """Zero the projection's rows of the dimensions that are not in use, before the first step.

        They get no gradient and so stay zero: tanh(0) is digit 1.
        """
        down = self.module(networks).quantizer.codebook.project_down
        active = mx.arange(self.config.quantizer_dims) < self.active_dims
        down.weight = mx.where(active[:, None], down.weight, 0.0)
        down.bias = mx.where(active, down.bias, 0.0)

    def collate(self, samples: Sequence[Sample]) -> Batch:
        self.check(samples)
        cropped = [self._crop(sample) for sample in samples]
        log_mels, mels, phones = ([arrays[i] for arrays in cropped] for i in range(3))
        frames = MEL_FRAMES_PER_TOKEN * self.tokens
        extended = np.stack(
            [
                np.concatenate(
                    [row, np.full((FRAMES_PER_TOKEN * self.tokens - len(row), 128), row.min())]
                )
                for row in log_mels
            ]
        )
        return {
            "keys": keys_of(samples),
            "log_mel": mx.array(extended.astype(np.float32)),
            "mel": mx.array(padded(mels, frames, np.float32)),
            "mask": mx.array(length_mask([len(mel) for mel in mels], frames)),
            "phones": mx.array(padded(phones, frames, np.int32)),
        }

    def _crop(self, sample: Sample) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return log-mel (4 n, 128), mel (2 n, 80) and phones (2 n,), n at most `tokens`."""
        log_mel, mel = np.asarray(sample["log_mel_16k"]), np.asarray(sample["mel"])
        if log_mel.shape[0] == self.config.n_mels and log_mel.shape[1] != self.config.n_mels:
            log_mel = log_mel.T
        n = min(len(log_mel) // FRAMES_PER_TOKEN, len(mel) // MEL_FRAMES_PER_TOKEN)
        if n == 0:
            raise DataError(f"{sample.get('id', 'a sample')} is shorter than a token (40 ms).")
        start = int(generator(sample["key"], _CROP).integers(max(n - self.tokens, 0) + 1))
        stop = min(start + self.tokens, n)
        phones = phones_of(sample, self.phones) if self.phones else np.zeros(2 * n, np.int32)
        return (
            log_mel[FRAMES_PER_TOKEN * start : FRAMES_PER_TOKEN * stop],
            mel[MEL_FRAMES_PER_TOKEN * start : MEL_FRAMES_PER_TOKEN * stop],
            phones[MEL_FRAMES_PER_TOKEN * start : MEL_FRAMES_PER_TOKEN * stop],
        )

    def counts(self, batch: Batch) -> Totals:
        frames = total(batch["mask"])
        return {"mel": frames, "phones": frames if self.phones else 0.0}

    def sums(self, networks: nn.Module, batch: Batch) -> tuple[Sums, MetricSums]:
        tokenizer = self.module(networks)
        hidden = tokenizer.encoder(batch["log_mel"])
        levels = mx.tanh(tokenizer.quantizer.codebook.project_down(hidden)) * SATURATION
        active = (mx.arange(self.config.quantizer_dims) < self.active_dims).astype(levels.dtype)
        levels = levels * active
        digits = levels + mx.stop_gradient(mx.round(levels) - levels)
        mel, phones = self._decoder(digits)
        normal = (batch["mel"] - MEL_MEAN) / MEL_DEVIATION
        distance = mx.abs(mel.astype(mx.float32) - normal).mean(axis=-1)
        sums = {"mel": (distance * batch["mask"]).sum()}
        if phones is not None:
            entropy = nn.losses.cross_entropy(phones.astype(mx.float32), batch["phones"])
            sums["phones"] = (entropy * batch["mask"]).sum()
        return sums, {}
