"""Pocket's flow: from the trained tokenizer's codes to the mel, in the voice of an x-vector."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from ...models.s3gen.config import S3GenConfig
from ...models.s3gen.flow import CausalMaskedDiffWithXvec
from ..tasks.base import generator
from ..tasks.flow import FlowTask
from ..trained import seeded
from . import running
from .corpus import Corpus
from .model import CODES, SPEAKER_WIDTH
from .sizes import flow_fields
from .speakers import Embeddings
from .voices import PHONES

VOICES = ("slt", "rms", "awb", "kal16")
STEPS, BATCH, TOKENS = 7000, 8, 96
RATE = 1e-3
# Nearly all is done in the first step, from little noise, so half of the samples are there.
_START_SHARE = 0.5
_WEIGHTS = {"mu": 0.5, "phones": 0.2}
_XVECTOR = 78
_MEAN_CLIPS = 100


def flow_config() -> S3GenConfig:
    """S3Gen's configuration as far as the flow asks for it."""
    return S3GenConfig(vocab_size=CODES, speaker_embed_dim=SPEAKER_WIDTH, **flow_fields())


class _Networks(nn.Module):
    """The flow where the task looks for it."""

    def __init__(self):
        super().__init__()
        self.s3gen = nn.Module()
        with seeded(running.SEED):
            self.s3gen.flow = CausalMaskedDiffWithXvec(flow_config())

    def begin_at(self, mel: np.ndarray) -> None:
        """Let both ends say this mel, (80,), at first: biases would take thousands of steps."""
        flow = self.s3gen.flow
        flow.encoder_proj.bias = flow.decoder.estimator.final_proj.bias = mx.array(mel)


def mean_mel(corpus: Corpus) -> np.ndarray:
    """(80,), of some clips."""
    some = corpus.indices(VOICES, "train")
    mels = [corpus.feature(i, "mel") for i in some[:: max(1, len(some) // _MEAN_CLIPS)]]
    return np.concatenate(mels).mean(axis=0)


def train(corpus: Corpus, folder: Path, steps: int = STEPS) -> CausalMaskedDiffWithXvec:
    """Train from the beginning, or go on where `folder` holds a run."""
    config, networks = flow_config(), _Networks()
    networks.begin_at(mean_mel(corpus))
    embeddings = Embeddings(corpus)

    def with_speaker(index: int, key: np.ndarray) -> dict:
        drawn = embeddings.draw(corpus.clips[index].voice, "xvector", generator(key, _XVECTOR))
        return {"xvector": drawn}

    def samples(part: str, size: int, most: int | None):
        names = ("speech_tokens", "mel", "phones")
        return corpus.samples(names, size, running.SEED, VOICES, part, most, with_speaker)

    with seeded(running.SEED):
        task = FlowTask(
            config,
            condition_dropout=0.0,
            max_tokens=TOKENS,
            start_share=_START_SHARE,
            phones=len(PHONES),
            weights=_WEIGHTS,
        )
    settings = running.settings(
        folder,
        "flow",
        max_steps=steps,
        per_device_train_batch_size=BATCH,
        per_device_eval_batch_size=16,
        learning_rate=RATE,
        warmup_steps=100,
        loss_weights=_WEIGHTS,
        compile=True,
    )
    running.run(settings, networks, task, samples("train", BATCH, None), samples("eval", 16, 48))
    return networks.s3gen.flow
