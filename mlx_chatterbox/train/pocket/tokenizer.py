"""The stage that trains pocket's speech tokenizer and encodes the corpus with it.

The codes are learnt so that a small decoder can rebuild the mel and name the phones.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from ...models.s3tokenizer.s3tokenizer import S3TokenizerV2
from ...runtime.own_files import whole_file
from ..sections import Component
from ..tasks.tokenizer import TokenizerTask
from ..trained import seeded
from .corpus import Corpus
from .model import tokenizer_config
from .stage import SEED, load_stage_weights, run_stage, stage_config
from .synthesisers import FLITE_VOICES, PHONES

NAME: Component = "s3_tokenizer"
STEPS, BATCH, TOKENS = 2000, 12, 48


class _TokenizerNetworks(nn.Module):
    def __init__(self):
        super().__init__()
        with seeded(SEED):
            self.s3_tokenizer = S3TokenizerV2(tokenizer_config())


def train_tokenizer(corpus: Corpus, folder: Path, steps: int = STEPS) -> None:
    """Train the tokenizer, resuming a run that `folder` holds."""
    with seeded(SEED):
        task = TokenizerTask(
            tokenizer_config(),
            tokens=TOKENS,
            phones=len(PHONES),
            width=128,
            weights={"phones": 0.4},
        )
    names = sorted(task.features)
    config = stage_config(
        folder,
        NAME,
        max_steps=steps,
        learning_rate=1.5e-3,
        per_device_train_batch_size=BATCH,
        per_device_eval_batch_size=16,
        compile=True,
    )
    samples = corpus.samples(names, BATCH, SEED, FLITE_VOICES)
    evaluation = corpus.samples(names, 16, SEED, FLITE_VOICES, part="eval", most=64)
    run_stage(config, _TokenizerNetworks(), task, samples, evaluation)


def tokenise_corpus(corpus: Corpus, folder: Path, progress: Callable | None = None) -> None:
    """Write `speech_tokens.npy` into every shard that lacks it.

    Args:
        folder: the output folder of the trained tokenizer.
        progress: callback(stage, done, total).
    """
    networks = _TokenizerNetworks()
    load_stage_weights(networks, folder, NAME)
    networks.eval()
    tokenizer = networks.s3_tokenizer
    for number, shard in enumerate(corpus.shards):
        if progress is not None:
            progress("speech tokens", number, len(corpus.shards))
        path = corpus.folder / shard / "speech_tokens.npy"
        if path.exists():
            continue
        codes = []
        for index, clip in enumerate(corpus.clips):
            if clip.shard == shard:
                log_mel = mx.array(corpus.feature(index, "log_mel_16k"))
                codes.append(np.array(tokenizer.encode_mel(log_mel.T)))
        with whole_file(path) as file:
            np.save(file, np.concatenate(codes).astype(np.int16))
