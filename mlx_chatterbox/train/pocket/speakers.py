"""The stage that trains the two speaker networks and embeds the corpus's voices with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

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
from ..sections import Component
from ..tasks.speaker import SpeakerTask
from ..trained import seeded
from .corpus import Corpus
from .model import SPEAKER_WIDTH, speaker_encoder_config, voice_encoder_config
from .stage import SEED, load_stage_weights, run_stage, stage_config

NAMES: tuple[Component, ...] = ("speaker_encoder", "voice_encoder")
STEPS, BATCH = {"speaker_encoder": 160, "voice_encoder": 225}, 24
_CLIPS_OF_A_VOICE = 150
# How many embeddings of each voice the other stages draw from.
_EMBEDDINGS = 40
EMBEDDINGS_NAME = "embeddings.npz"


class _S3GenSpeaker(nn.Module):
    def __init__(self):
        super().__init__()
        self.speaker_encoder = CAMPPlus(speaker_encoder_config())


class _SpeakerNetworks(nn.Module):
    def __init__(self):
        super().__init__()
        with seeded(SEED):
            self.s3gen = _S3GenSpeaker()
            self.ve = VoiceEncoder(voice_encoder_config())


def _fbank(waveform: np.ndarray) -> mx.array:
    return fbank(resample_sinc(mx.array(waveform), 24000, 16000))


def _voice_mel(waveform: np.ndarray) -> mx.array:
    trimmed = trim_silence(resample_soxr(waveform, 24000, 16000), TRIM_DB)
    return voice_encoder_mel(mx.array(trimmed))


_FEATURES: dict[str, tuple[str, Callable]] = {
    "speaker_encoder": ("fbank", _fbank),
    "voice_encoder": ("ve_mel", _voice_mel),
}


def _chosen(corpus: Corpus, most: int, part: str | None) -> list[int]:
    """Return positions of at most `most` clips of each voice, evenly spread, 1 s or longer."""
    chosen: list[int] = []
    for voice in sorted({clip.voice for clip in corpus.clips}):
        own = corpus.indices([voice], part)
        own = [i for i in own if corpus.clips[i].tokens >= 25] or own
        step = max(1, len(own) // most)
        chosen += own[::step][:most]
    return chosen


def train_speaker_network(corpus: Corpus, folder: Path, name: Component) -> None:
    """Train the network of that name, resuming a run that `folder` holds."""
    feature, compute = _FEATURES[name]
    computed: dict[int, np.ndarray] = {}

    def features(index: int, key: np.ndarray) -> dict:
        if index not in computed:
            computed[index] = np.array(compute(corpus.feature(index, "waveform")))
        return {"id": corpus.clips[index].id, "speaker": corpus.clips[index].voice,
                feature: computed[index]}  # fmt: skip

    task = SpeakerTask(name, sorted({clip.voice for clip in corpus.clips}), SPEAKER_WIDTH)
    config = stage_config(
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
    samples = corpus.samples_of(chosen, features, BATCH, SEED)
    run_stage(config, _SpeakerNetworks(), task, samples)


def trained_speaker_networks(folders: Mapping[Component, Path]) -> _SpeakerNetworks:
    """Load both networks with their stages' newest weights: `s3gen.speaker_encoder` and `ve`."""
    networks = _SpeakerNetworks()
    for name, folder in folders.items():
        load_stage_weights(networks, folder, name)
    networks.eval()
    return networks


def embed_voices(corpus: Corpus, folders: Mapping[Component, Path]) -> None:
    """Write `embeddings.npz`: "VOICE/xvector" and "VOICE/speaker_embedding", (n, 64) each."""
    networks = trained_speaker_networks(folders)
    embeddings: dict[str, list[np.ndarray]] = {}
    for index in _chosen(corpus, _EMBEDDINGS, "train"):
        waveform, voice = corpus.feature(index, "waveform"), corpus.clips[index].voice
        features = _fbank(waveform)
        features = features - features.mean(axis=0, keepdims=True)
        xvector = networks.s3gen.speaker_encoder(features[None])[0]
        speaker = networks.ve.embed_mel(_voice_mel(waveform))[0]
        embeddings.setdefault(f"{voice}/xvector", []).append(np.array(xvector))
        embeddings.setdefault(f"{voice}/speaker_embedding", []).append(np.array(speaker))
    with whole_file(corpus.folder / EMBEDDINGS_NAME) as file:
        arrays: dict[str, Any] = {name: np.stack(rows) for name, rows in embeddings.items()}
        np.savez(file, **arrays)


class Embeddings:
    """Embeddings of the corpus's voices, to draw from: mostly of other clips than the sample's."""

    def __init__(self, corpus: Corpus):
        """Read `embeddings.npz`.

        Raises:
            DataError: the file is missing or damaged.
        """
        self._path = corpus.folder / EMBEDDINGS_NAME
        self._of = read_arrays(self._path, "float32", (None, SPEAKER_WIDTH))
        for name, rows in self._of.items():
            check_finite(rows, f"{self._path}: {named(name)}", DataError)

    def draw(self, voice: str, feature: str, rng: np.random.Generator) -> np.ndarray:
        """Draw one of a voice's embeddings at random, (64,).

        Args:
            feature: "xvector" or "speaker_embedding".

        Raises:
            DataError: the voice has none.
        """
        rows = self._of.get(f"{voice}/{feature}")
        if rows is None:
            raise DataError(f"{self._path} has no {feature} of {named(voice)}.")
        return rows[rng.integers(len(rows))]
