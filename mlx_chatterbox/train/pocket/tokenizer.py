"""The tokenizer: codes from which mel and phones can be told; then the codes of the corpus."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from ...models.s3tokenizer.s3tokenizer import S3TokenizerV2
from ...runtime.own_files import whole_file
from ..tasks.tokenizer import TokenizerTask
from ..trained import seeded
from . import running, voices
from .corpus import Corpus
from .model import tokenizer_config

NAME = "s3_tokenizer"
STEPS, BATCH, TOKENS = 2000, 12, 48
_TEACHERS = ("slt", "rms", "awb", "kal16")


class _Networks(nn.Module):
    def __init__(self):
        super().__init__()
        with seeded(running.SEED):
            self.s3_tokenizer = S3TokenizerV2(tokenizer_config())


def train(corpus: Corpus, folder: Path, steps: int = STEPS) -> None:
    """Train the tokenizer, or go on."""
    with seeded(running.SEED):
        task = TokenizerTask(
            tokenizer_config(),
            tokens=TOKENS,
            phones=len(voices.PHONES),
            width=128,
            weights={"phones": 0.4},
        )
    names = sorted(task.features)
    config = running.settings(
        folder,
        NAME,
        max_steps=steps,
        learning_rate=1.5e-3,
        per_device_train_batch_size=BATCH,
        per_device_eval_batch_size=16,
        compile=True,
    )
    samples = corpus.samples(names, BATCH, running.SEED, _TEACHERS)
    evaluation = corpus.samples(names, 16, running.SEED, _TEACHERS, part="eval", most=64)
    running.run(config, _Networks(), task, samples, evaluation)


def tokenise(corpus: Corpus, folder: Path, progress: Callable | None = None) -> None:
    """Write `speech_tokens.npy` into every shard that has none."""
    networks = _Networks()
    running.take(networks, folder, NAME)
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
