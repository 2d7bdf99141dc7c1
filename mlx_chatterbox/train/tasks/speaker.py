"""Training of the speaker networks: a classifier of speakers with an additive angular margin.

AAM-softmax (ArcFace, https://arxiv.org/abs/1801.07698) over the speakers of the data set, for
CAMPPlus as it was trained upstream, and for the voice encoder in place of GE2E, which would need
several clips of a speaker in every micro-batch. A single speaker is refused: there is nothing to
learn.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from ...errors import DataError, SettingError
from .base import Batch, MetricSums, Sample, Sums, Task, Totals, generator, keys_of

_CROP = 1


class SpeakerClassifier(nn.Module):
    """A direction for each speaker, discarded after training: weight (speakers, width)."""

    def __init__(self, width: int, speakers: int):
        super().__init__()
        self.weight = mx.random.normal((speakers, width), key=mx.random.key(0))

    def __call__(self, embedding: mx.array) -> mx.array:
        """Return cosines of embeddings (B, width) with every speaker's direction, (B, speakers)."""
        return _normalised(embedding.astype(mx.float32)) @ _normalised(self.weight).T


def _normalised(x: mx.array) -> mx.array:
    return x / mx.maximum(mx.linalg.norm(x, axis=-1, keepdims=True), 1e-12)


class SpeakerTask(Task):
    """Cross-entropy of the speaker ("speaker") for "speaker_encoder" or "voice_encoder".

    A sample's `speaker` is its label. All samples are cropped to one length, so nothing is padded;
    a shorter clip is repeated. CAMPPlus has batch norms, whose statistics in training are those of
    the micro-batch: for this task alone the split into micro-batches matters.

    Args:
        name: "speaker_encoder" (features "fbank") or "voice_encoder" ("ve_mel").
        speakers: names of all speakers, in any order; None: `begin` passes them.
        width: of the embedding.
        frames: length of the crops, at 100 frames/s.
        margin: angle added to that of a clip's own speaker, radians.
        scale: of the cosines as logits.

    Raises:
        SettingError: the name is of another component, or there are fewer than two speakers.
    """

    parts = ("speaker",)
    metrics = ("speaker_accuracy",)

    def __init__(
        self,
        name: str,
        speakers: Sequence[str] | None,
        width: int,
        frames: int = 160,
        margin: float = 0.2,
        scale: float = 30.0,
        weights: dict[str, float] | None = None,
    ):
        super().__init__(weights)
        feature = {"speaker_encoder": "fbank", "voice_encoder": "ve_mel"}.get(name)
        if feature is None:
            raise SettingError(f"{name} is not a speaker network.")
        self.name, self._feature, self._width = name, feature, width
        self.features = frozenset({feature})
        self.frames, self.margin, self.scale = frames, margin, scale
        self.speakers: dict[str, int] = {}
        if speakers is not None:
            self._set_speakers(speakers)

    def begin(self, networks: nn.Module, speakers: Iterable[str]) -> None:
        self._set_speakers(speakers)

    def _set_speakers(self, speakers: Iterable[str]) -> None:
        self.speakers = {speaker: i for i, speaker in enumerate(sorted(set(speakers)))}
        if len(self.speakers) < 2:
            raise SettingError(
                f"training {self.name} needs two speakers or more; there are {len(self.speakers)}."
            )
        self._classifier = SpeakerClassifier(self._width, len(self.speakers))

    def extra_module(self, networks: nn.Module) -> nn.Module:
        return self._classifier

    def collate(self, samples: Sequence[Sample]) -> Batch:
        self.check(samples)
        unknown = {sample.get("speaker", "") for sample in samples} - self.speakers.keys()
        if unknown:
            raise DataError(f"unknown speakers: {', '.join(sorted(unknown))}.")
        labels = [self.speakers[sample["speaker"]] for sample in samples]
        return {
            "keys": keys_of(samples),
            "features": mx.array(np.stack([self._crop(sample) for sample in samples])),
            "labels": mx.array(np.array(labels, dtype=np.int32)),
        }

    def _crop(self, sample: Sample) -> np.ndarray:
        """Return a random stretch of a sample's features, (frames, bands)."""
        features = np.asarray(sample[self._feature], dtype=np.float32)
        if len(features) == 0:
            raise DataError(f"{sample.get('id', 'a sample')} has no frames of {self._feature}.")
        if len(features) < self.frames:
            features = np.tile(features, (-(-self.frames // len(features)), 1))
        start = int(generator(sample["key"], _CROP).integers(len(features) - self.frames + 1))
        features = features[start : start + self.frames]
        if self.name == "speaker_encoder":  # as in inference, which subtracts the mean
            features = features - features.mean(axis=0, keepdims=True)
        return features

    def counts(self, batch: Batch) -> Totals:
        return {"speaker": float(batch["labels"].shape[0])}

    def sums(self, networks: nn.Module, batch: Batch) -> tuple[Sums, MetricSums]:
        cosines = self._classifier(self.module(networks)(batch["features"]))
        own = mx.arange(cosines.shape[1])[None] == batch["labels"][:, None]
        # cos(angle + margin), by the addition theorem; past pi it would rise again, so there the
        # cosine itself is lowered instead.
        sines = mx.sqrt(mx.maximum(1.0 - cosines * cosines, 1e-7))
        target = cosines * math.cos(self.margin) - sines * math.sin(self.margin)
        lowered = cosines - math.sin(self.margin) * self.margin
        target = mx.where(cosines > math.cos(math.pi - self.margin), target, lowered)
        logits = self.scale * mx.where(own, target, cosines)
        right = mx.argmax(mx.stop_gradient(cosines), axis=-1) == batch["labels"]
        loss = nn.losses.cross_entropy(logits, batch["labels"], reduction="sum")
        return {"speaker": loss}, {"speaker_accuracy": ("speaker", right.sum())}
