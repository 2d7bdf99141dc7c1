"""The stage that trains pocket's vocoder, after computing F0 and excitation of some shards.

The excitation of a clip is made once, with random phases and noise of its own, and stored beside
the waveform: with 31 harmonics it would be a third of the work of every step.
"""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from ...models.s3gen.config import HiFTNetConfig
from ...models.s3gen.hift import HiFTGenerator
from ...runtime.own_files import whole_file
from ..data.pitch import HOP, f0
from ..tasks.base import generator
from ..tasks.vocoder import VocoderTask
from ..trained import seeded
from .corpus import Corpus
from .sizes import hift_config
from .stage import SEED, run_stage, stage_config

STEPS, BATCH, RATE = 20000, 8, 1e-3
# Some hours are plenty, and the F0 of all would take long; slt is the hardest to learn.
SHARDS = ("slt-00", "slt-01", "rms-00", "awb-00", "kal16-00")
# Weight of each harmonic in the excitation: their sum stays where its tanh is nearly linear.
SHARE = 0.3
FRAMES = 32
_CROP = 77


def fresh_vocoder(config: HiFTNetConfig, seed: int) -> HiFTGenerator:
    """Make a vocoder with random weights; its source merges the harmonics evenly, untrained."""
    with seeded(seed):
        vocoder = HiFTGenerator(config)
    merge = vocoder.m_source.l_linear
    merge.weight, merge.bias = mx.full(merge.weight.shape, SHARE), mx.zeros_like(merge.bias)
    return vocoder


def prepare_shard(corpus: Corpus, shard: str, config: HiFTNetConfig) -> None:
    """Write a shard's `f0.npy` and `source.npy` (see `corpus`) unless they are there."""
    folder = corpus.folder / shard
    if (folder / "source.npy").exists():
        return
    vocoder = fresh_vocoder(config, 0)
    pitches, sources = [], []
    for number, clip in enumerate(corpus.clips):
        if clip.shard != shard:
            continue
        pitch = f0(corpus.feature(number, "waveform"))
        source = vocoder.m_source(mx.array(pitch)[None], HOP, mx.random.key(number))[0]
        pitches.append(pitch)
        sources.append(np.array(mx.round(source * 32767.0).astype(mx.int16)))
    for name, rows in (("f0", pitches), ("source", sources)):
        with whole_file(folder / f"{name}.npy") as file:
            np.save(file, np.concatenate(rows))


class _VocoderNetworks(nn.Module):
    """The vocoder at the place where its task finds it, `s3gen.mel2wav`."""

    def __init__(self, vocoder: HiFTGenerator):
        super().__init__()
        self.s3gen = nn.Module()
        self.s3gen.mel2wav = vocoder


def _stretch(corpus: Corpus, index: int, key: np.ndarray) -> dict:
    """Read a random stretch of a clip's features, (FRAMES, ...) or all of a shorter clip."""
    clip = corpus.clips[index]
    tokens = FRAMES // 2
    spare = max(clip.tokens - tokens, 0)
    first = int(generator(key, _CROP).integers(spare + 1))

    def rows(name: str) -> np.ndarray:
        return corpus.rows(index, name, first, min(tokens, clip.tokens))

    return {
        "mel": rows("mel").astype(np.float32),
        "f0": rows("f0").astype(np.float32),
        "waveform": rows("waveform") / np.float32(32768.0),
        "source": rows("source") / np.float32(32767.0),
    }


def train_vocoder(
    corpus: Corpus, folder: Path, steps: int = STEPS, shards: tuple[str, ...] = SHARDS
) -> None:
    """Train the vocoder, resuming a run that `folder` holds.

    Args:
        shards: the names of the only ones that it learns from.
    """
    config = hift_config()
    corpus = Corpus(corpus.folder, shards)
    for shard in corpus.shards:
        prepare_shard(corpus, shard, config)

    def samples(part: str, size: int, most: int | None):
        def stretch(index: int, key: np.ndarray) -> dict:
            return _stretch(corpus, index, key)

        return corpus.samples([], size, SEED, None, part, most, stretch)

    settings = stage_config(
        folder,
        "vocoder",
        max_steps=steps,
        per_device_train_batch_size=BATCH,
        per_device_eval_batch_size=16,
        learning_rate=RATE,
        adam_beta1=0.8,
        adam_beta2=0.99,
        weight_decay=0.0,
        warmup_steps=200,
        gradient_clip_norm=10.0,
        logging_steps=50,
        eval_steps=500,
        compile=True,
    )
    networks = _VocoderNetworks(fresh_vocoder(config, SEED))
    task = VocoderTask(config, FRAMES, given_source=True)
    run_stage(settings, networks, task, samples("train", BATCH, None), samples("eval", 16, 64))
