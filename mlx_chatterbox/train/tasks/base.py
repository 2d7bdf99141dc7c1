"""The base class of training tasks, and helpers that build batches.

A task turns samples into a batch and a batch into a loss. Two rules make training on several
machines, or in micro-batches, the same as on one: a loss is a sum over the batch divided by the
totals of the whole step, so that gradients of parts add up to the gradient of the whole; and all
randomness of a sample comes from the sample's own key.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from numpy.typing import DTypeLike

from ...checks.tensors import check_tokens
from ...errors import DataError, SettingError
from ..adapters import draw_dropout_from

# Component -> the path of its network, which is also the prefix of its keys in a checkpoint.
PLACES = {
    "t3": "t3",
    "flow": "s3gen.flow",
    "vocoder": "s3gen.mel2wav",
    "s3_tokenizer": "s3_tokenizer",
    "speaker_encoder": "s3gen.speaker_encoder",
    "voice_encoder": "ve",
}

# Settings of tasks that are switched off in evaluation: shares of samples without text, condition.
_DROPOUTS = ("text_dropout", "condition_dropout")

Sample = dict[str, Any]
Batch = dict[str, mx.array]
Totals = dict[str, float]
Sums = dict[str, mx.array]
# Name -> the part of the loss whose total divides it, and the sum.
MetricSums = dict[str, tuple[str, mx.array]]

_AnyTask = TypeVar("_AnyTask", bound="Task")

# Lengths are padded to multiples of `BUCKET` or, above 256, to eighths of a power of two: few
# shapes occur and little is padding.
BUCKET = 32
_BUCKETS_PER_OCTAVE = 8


def component_module(networks: nn.Module, component: str) -> nn.Module:
    """Return the network of a component.

    Raises:
        SettingError: the component is not in `PLACES`.
    """
    if component not in PLACES:
        raise SettingError(f"unknown component {component!r}; known are {', '.join(PLACES)}.")
    module = networks
    for name in PLACES[component].split("."):
        module = getattr(module, name)
    return module


class Task:
    """The training of one component: its features, its batches, its loss.

    Attributes:
        name: the component.
        features: names of the features that a sample must hold.
        prompt_features: names of the features that the sample's `prompt` must hold, which are of
            another clip of the speaker or of another part of this one; where this is empty, the
            prompt may be an empty dict.
        parts: names of the loss's parts, each with a total of its own.
        metrics: names of further measurements.
        weights: of the parts in the loss.

    Args:
        weights: of the parts; 1 for those left out.
    """

    name: str
    features: frozenset[str]
    prompt_features: frozenset[str] = frozenset()
    parts: tuple[str, ...]
    metrics: tuple[str, ...] = ()

    def __init__(self, weights: dict[str, float] | None = None):
        weights = weights or {}
        self.weights = {part: float(weights.get(part, 1.0)) for part in self.parts}

    def module(self, networks: nn.Module) -> nn.Module:
        """Return the network to train.

        Adapters' dropout and batch norms follow the module's mode: call `train()` before a step and
        `eval()` before an evaluation.
        """
        return component_module(networks, self.name)

    def extra_module(self, networks: nn.Module) -> nn.Module | None:
        """Return a head that is trained with the network and discarded afterwards, or None.

        It is the same object at each call, its first weights drawn from a fixed key.
        """
        return None

    def begin(self, networks: nn.Module, speakers: Iterable[str]) -> None:
        """Prepare what depends on the data or on first weights, before `extra_module` is called.

        A resumed run is prepared in the same way before its weights are loaded.

        Args:
            speakers: names of all speakers in the data.

        Raises:
            SettingError: the task cannot be trained on the data.
        """

    def for_evaluation(self: _AnyTask) -> _AnyTask:
        """Return a copy that shares heads and never drops a sample's text or condition."""
        twin = copy.copy(self)
        for name in _DROPOUTS:
            if hasattr(twin, name):
                setattr(twin, name, 0.0)
        return twin

    def collate(self, samples: Sequence[Sample]) -> Batch:
        """Make a batch of samples, padded on the right; `keys` (B, 2) uint32 are the samples' own.

        Raises:
            DataError: a sample lacks a feature, or cannot be trained on.
        """
        raise NotImplementedError

    def counts(self, batch: Batch) -> Totals:
        """Count the items of each part of the loss in a batch; counts of batches add up."""
        raise NotImplementedError

    def loss(
        self, networks: nn.Module, batch: Batch, totals: Totals
    ) -> tuple[mx.array, dict[str, mx.array]]:
        """Compute the batch's share of the loss.

        Args:
            totals: `counts` of the whole step, added over micro-batches and machines.

        Returns:
            the weighted sum, float32, and parts and metrics by name; both add up over batches.
        """
        draw_dropout_from(self.module(networks), batch["keys"])
        sums, metric_sums = self.sums(networks, batch)
        means = {part: value / mx.maximum(totals[part], 1.0) for part, value in sums.items()}
        metrics = {
            name: value / mx.maximum(totals[part], 1.0)
            for name, (part, value) in metric_sums.items()
        }
        loss = mx.array(0.0)
        for part, mean in means.items():
            loss = loss + self.weights[part] * mean
        return loss, {**means, **metrics}

    def sums(self, networks: nn.Module, batch: Batch) -> tuple[Sums, MetricSums]:
        """Compute the sums of the loss's parts and of the metrics over a batch."""
        raise NotImplementedError

    def check(self, samples: Sequence[Sample]) -> None:
        """Check that every sample has the features of the task.

        Raises:
            DataError: one lacks a feature.
        """
        for sample in samples:
            missing = sorted(self.features - sample.keys())
            if missing:
                raise DataError(
                    f"{sample.get('id', 'a sample')} lacks {', '.join(missing)}, which training "
                    f"{self.name} needs."
                )


def generator(key: np.ndarray, purpose: int) -> np.random.Generator:
    """Return a generator that a sample's key and a purpose determine.

    Args:
        key: (2,) uint32.
        purpose: a number for each use, so that uses draw independently.
    """
    words = [int(word) for word in np.asarray(key, dtype=np.uint32)]
    return np.random.Generator(np.random.Philox(key=[words[0] << 32 | words[1], purpose]))


def keys_of(samples: Sequence[Sample]) -> mx.array:
    """Stack the samples' keys, (B, 2) uint32."""
    return mx.array(np.stack([np.asarray(sample["key"], dtype=np.uint32) for sample in samples]))


def bucket(length: int, step: int = BUCKET) -> int:
    """Round a length up to a multiple of `step`, or of an eighth of the power of two below it."""
    length = max(int(length), 1)
    step = max(step, 2 ** (length.bit_length() - 1) // _BUCKETS_PER_OCTAVE)
    return -(-length // step) * step


def padded(arrays: Iterable[np.ndarray], length: int, dtype: DTypeLike | None = None) -> np.ndarray:
    """Stack arrays (n_i, ...), padded with zeros on the right, (B, length, ...)."""
    arrays = [np.asarray(array) for array in arrays]
    dtype = dtype or arrays[0].dtype
    stacked = np.zeros((len(arrays), length, *arrays[0].shape[1:]), dtype=dtype)
    for row, array in zip(stacked, arrays, strict=True):
        row[: len(array)] = array
    return stacked


def length_mask(lengths: Sequence[int], length: int) -> np.ndarray:
    """Make a mask, (B, length) float32: 1 in the first `lengths[b]` columns of row b, then 0."""
    return (np.arange(length)[None] < np.asarray(lengths)[:, None]).astype(np.float32)


def reference_feature(sample: Sample, feature: str) -> np.ndarray:
    """Return a feature of the sample's prompt; of the sample itself where the prompt lacks it."""
    prompt = sample.get("prompt") or {}
    return np.asarray(prompt[feature] if feature in prompt else sample[feature])


def phones_of(sample: Sample, kinds: int) -> np.ndarray:
    """Return the sample's phone labels, int32.

    Raises:
        DataError: a label is not below `kinds`.
    """
    phones = np.asarray(sample["phones"])
    check_tokens(phones, kinds, f"phones of {sample.get('id', 'a sample')}", DataError)
    return phones.astype(np.int32)


def total(array: mx.array) -> float:
    """Sum an array of weights in float64."""
    return float(np.asarray(array, dtype=np.float64).sum())
