"""The stage that trains pocket's flow: codes of the trained tokenizer to mel, by an x-vector."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from ...models.s3gen.flow import CausalMaskedDiffWithXvec
from ..tasks.base import generator
from ..tasks.flow import FlowTask
from ..trained import seeded
from .corpus import Corpus
from .model import pocket_config
from .speakers import Embeddings
from .stage import SEED, run_stage, stage_config
from .synthesisers import PHONES

VOICES = ("slt", "rms", "awb", "kal16")
STEPS, BATCH, TOKENS = 7000, 8, 96
RATE = 1e-3
# Generation starts from little noise and does nearly all in the first step: half of the samples
# train that one.
_START_SHARE = 0.5
_WEIGHTS = {"mu": 0.5, "phones": 0.2}
_XVECTOR = 78
_MEAN_CLIPS = 100


class _FlowNetworks(nn.Module):
    """The flow at the place where its task finds it, `s3gen.flow`."""

    def __init__(self):
        super().__init__()
        self.s3gen = nn.Module()
        with seeded(SEED):
            self.s3gen.flow = CausalMaskedDiffWithXvec(pocket_config().s3gen)

    def set_output_bias(self, mel: np.ndarray) -> None:
        """Make the outputs of encoder and estimator start at a mel, (80,).

        Their biases would take thousands of steps to get there.
        """
        flow = self.s3gen.flow
        flow.encoder_proj.bias = flow.decoder.estimator.final_proj.bias = mx.array(mel)


def mean_mel(corpus: Corpus) -> np.ndarray:
    """Return the mean mel of some of the clips, (80,)."""
    some = corpus.indices(VOICES, "train")
    mels = [corpus.feature(i, "mel") for i in some[:: max(1, len(some) // _MEAN_CLIPS)]]
    return np.concatenate(mels).mean(axis=0)


def train_flow(corpus: Corpus, folder: Path, steps: int = STEPS) -> CausalMaskedDiffWithXvec:
    """Train the flow, resuming a run that `folder` holds."""
    networks = _FlowNetworks()
    networks.set_output_bias(mean_mel(corpus))
    embeddings = Embeddings(corpus)

    def with_speaker(index: int, key: np.ndarray) -> dict:
        rng = generator(key, _XVECTOR)
        return {"xvector": embeddings.draw(corpus.clips[index].voice, "xvector", rng)}

    def samples(part: str, size: int, most: int | None):
        names = ("speech_tokens", "mel", "phones")
        return corpus.samples(names, size, SEED, VOICES, part, most, with_speaker)

    with seeded(SEED):
        task = FlowTask(
            pocket_config().s3gen,
            condition_dropout=0.0,
            max_tokens=TOKENS,
            start_share=_START_SHARE,
            phones=len(PHONES),
            weights=_WEIGHTS,
        )
    config = stage_config(
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
    run_stage(config, networks, task, samples("train", BATCH, None), samples("eval", 16, 48))
    return networks.s3gen.flow
