"""The speaker networks, and what they say of the corpus's voices."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from ...audio.kaldi import fbank
from ...audio.mel import voice_encoder_mel
from ...audio.resample import resample_sinc, resample_soxr
from ...audio.silence import trim_silence
from ...checks.plain import named
from ...checks.tensors import check_finite
from ...errors import DataError
from ...models.s3gen.campplus import CAMPPlus
from ...models.voice_encoder.voice_encoder import TRIM_DB, VoiceEncoder
from ...runtime.numpy_file import read_arrays
from ...runtime.own_files import whole_file
from ..tasks.speaker import SpeakerTask
from ..trained import seeded
from . import running
from .corpus import Corpus
from .model import SPEAKER_WIDTH, speaker_encoder_config, voice_encoder_config

NAMES = ("speaker_encoder", "voice_encoder")
STEPS, BATCH = {"speaker_encoder": 160, "voice_encoder": 225}, 24
_CLIPS_OF_A_VOICE = 150
# How many embeddings of each voice the other stages draw from.
_EMBEDDINGS = 40
EMBEDDINGS_NAME = "embeddings.npz"


class _S3Gen(nn.Module):
    def __init__(self):
        super().__init__()
        self.speaker_encoder = CAMPPlus(speaker_encoder_config())


class _Networks(nn.Module):
    def __init__(self):
        super().__init__()
        with seeded(running.SEED):
            self.s3gen = _S3Gen()
            self.ve = VoiceEncoder(voice_encoder_config())


def _fbank(waveform: np.ndarray) -> mx.array:
    return fbank(resample_sinc(mx.array(waveform), 24000, 16000))


def _voice_mel(waveform: np.ndarray) -> mx.array:
    return voice_encoder_mel(trim_silence(resample_soxr(waveform, 24000, 16000), TRIM_DB))


_FEATURES: dict[str, tuple[str, Callable]] = {
    "speaker_encoder": ("fbank", _fbank),
    "voice_encoder": ("ve_mel", _voice_mel),
}


def _chosen(corpus: Corpus, most: int, part: str | None) -> list[int]:
    """At most so many clips of each voice, evenly spread."""
    chosen = []
    for voice in sorted({clip.voice for clip in corpus.clips}):
        own = corpus.indices([voice], part)
        own = [i for i in own if corpus.clips[i].tokens >= 25] or own
        step = max(1, len(own) // most)
        chosen += own[::step][:most]
    return chosen


def train(corpus: Corpus, folder: Path, name: str) -> None:
    """Train one of the two, or go on."""
    feature, compute = _FEATURES[name]
    known: dict[int, np.ndarray] = {}

    def features(index: int, key: np.ndarray) -> dict:
        if index not in known:
            known[index] = np.array(compute(corpus.feature(index, "waveform")))
        return {"id": corpus.clips[index].id, "speaker": corpus.clips[index].voice,
                feature: known[index]}  # fmt: skip

    task = SpeakerTask(name, sorted({clip.voice for clip in corpus.clips}), SPEAKER_WIDTH)
    config = running.settings(
        folder,
        name,
        max_steps=STEPS[name],
        learning_rate=2e-3,
        weight_decay=0.05,
        per_device_train_batch_size=BATCH,
        dataloader_num_workers=0,  # MLX computes the features
        eval_strategy="no",
        save_steps=100,
    )
    chosen = _chosen(corpus, _CLIPS_OF_A_VOICE, "train")
    samples = corpus.given(chosen, features, BATCH, running.SEED)
    running.run(config, _Networks(), task, samples)


def trained(folders: dict[str, Path]) -> nn.Module:
    """Both networks with their newest weights: `s3gen.speaker_encoder` and `ve`."""
    networks = _Networks()
    for name, folder in folders.items():
        running.take(networks, folder, name)
    networks.eval()
    return networks


def embed(corpus: Corpus, folders: dict[str, Path]) -> None:
    """Write `embeddings.npz`: "VOICE/xvector" and "VOICE/speaker_embedding", (n, 64) each."""
    networks = trained(folders)
    found: dict[str, list] = {}
    for index in _chosen(corpus, _EMBEDDINGS, "train"):
        waveform, voice = corpus.feature(index, "waveform"), corpus.clips[index].voice
        features = _fbank(waveform)
        features = features - features.mean(axis=0, keepdims=True)
        xvector = networks.s3gen.speaker_encoder(features[None])[0]
        speaker = networks.ve.embed_mel(_voice_mel(waveform))[0]
        found.setdefault(f"{voice}/xvector", []).append(np.array(xvector))
        found.setdefault(f"{voice}/speaker_embedding", []).append(np.array(speaker))
    with whole_file(corpus.folder / EMBEDDINGS_NAME) as file:
        np.savez(file, **{k: np.stack(v) for k, v in found.items()})


class Embeddings:
    """Draws an embedding of a voice: of another clip than the one that is learnt."""

    def __init__(self, corpus: Corpus):
        """Read them all.

        Raises:
            DataError: the file is missing or damaged.
        """
        self._path = corpus.folder / EMBEDDINGS_NAME
        self._of = read_arrays(self._path, "float32", (None, SPEAKER_WIDTH))
        for name, rows in self._of.items():
            check_finite(rows, f"{self._path}: {named(name)}", DataError)

    def draw(self, voice: str, feature: str, rng: np.random.Generator) -> np.ndarray:
        """(64,): "xvector" or "speaker_embedding".

        Raises:
            DataError: there is none of this voice.
        """
        rows = self._of.get(f"{voice}/{feature}")
        if rows is None:
            raise DataError(f"{self._path} has no {feature} of {named(voice)}.")
        return rows[rng.integers(len(rows))]
