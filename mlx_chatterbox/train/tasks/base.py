"""What every component's training has in common: its task says what is learnt, and from what.

A task turns samples into a batch and a batch into a loss. Two rules make training on several
machines, or in micro-batches, the same as in one: a loss is a sum over the batch divided by totals
that are given, so that gradients of parts add up to the gradient of the whole; and whatever is
random about a sample comes from the sample's own key.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from ...checks.tensors import check_tokens
from ...errors import DataError, SettingError
from ..adapters import draw_dropout_from

# Component -> its place in the networks, which is also the prefix of its keys in a checkpoint.
PLACES = {
    "t3": "t3",
    "flow": "s3gen.flow",
    "vocoder": "s3gen.mel2wav",
    "s3_tokenizer": "s3_tokenizer",
    "speaker_encoder": "s3gen.speaker_encoder",
    "voice_encoder": "ve",
}

# Shares of samples that go without text or condition, where a task has such a setting.
_DROPOUTS = ("text_dropout", "condition_dropout")

Sample = dict
Batch = dict[str, mx.array]
Totals = dict[str, float]

# Lengths are padded up to multiples of these, so that few shapes occur and little is wasted.
BUCKET = 32
_BUCKETS_IN_MOST = 8


def component_module(networks: nn.Module, component: str) -> nn.Module:
    """The network of a component, by its name in `PLACES`."""
    if component not in PLACES:
        raise SettingError(f"there is no component {component!r}; there are {', '.join(PLACES)}.")
    module = networks
    for name in PLACES[component].split("."):
        module = getattr(module, name)
    return module


class Task:
    """How one component is trained.

    Attributes:
        name: the component.
        features: what a sample must hold, of the store's features.
        prompt_features: what the sample's `prompt`, features of another clip of the speaker or of
            another part of this one, must hold; a task without one works with an empty dict.
        parts: names of the loss's parts, each with a total of its own.
        metrics: names of what is measured besides.
        weights: of the parts; 1 for those that are not there.
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
        """The network that is trained.

        Dropout in adapters and batch norms act as the module's mode says: `train()` it before a
        step and `eval()` it before an evaluation.
        """
        return component_module(networks, self.name)

    def extra_module(self, networks: nn.Module) -> nn.Module | None:
        """A head that is trained beside the network and thrown away afterwards, or None.

        The same object at each call, its first weights from a fixed key.
        """
        return None

    def begin(self, networks: nn.Module, speakers: Iterable[str]) -> None:
        """Make ready what depends on the data or on first weights, before heads are asked for.

        A run that is resumed begins in the same way; then its weights are put over these.

        Args:
            speakers: names of all in the data.

        Raises:
            SettingError: the data cannot teach this.
        """

    def for_evaluation(self) -> Task:
        """The same task, heads included, but no sample goes without its text or condition."""
        twin = copy.copy(self)
        for name in _DROPOUTS:
            if hasattr(twin, name):
                setattr(twin, name, 0.0)
        return twin

    def collate(self, samples: Sequence[Sample]) -> Batch:
        """A batch of samples, padded on the right. `keys` (B, 2) uint32 are the samples' own.

        Raises:
            DataError: a sample that lacks a feature, or that cannot be learnt from.
        """
        raise NotImplementedError

    def counts(self, batch: Batch) -> Totals:
        """How much of each part of the loss the batch holds; of several batches, to be added."""
        raise NotImplementedError

    def loss(
        self, networks: nn.Module, batch: Batch, totals: Totals
    ) -> tuple[mx.array, dict[str, mx.array]]:
        """The batch's share of the loss.

        Args:
            totals: `counts` of the whole step, all micro-batches and machines added.

        Returns:
            the weighted sum, float32, and the parts for the metrics; both add up over batches.
        """
        draw_dropout_from(self.module(networks), batch["keys"])
        parts, metrics = self.sums(networks, batch)
        means = {part: parts[part] / mx.maximum(totals[part], 1.0) for part in parts}
        metrics = {
            name: value / mx.maximum(totals[part], 1.0) for name, (part, value) in metrics.items()
        }
        loss = mx.array(0.0)
        for part, mean in means.items():
            loss = loss + self.weights[part] * mean
        return loss, {**means, **metrics}

    def sums(self, networks: nn.Module, batch: Batch) -> tuple[dict, dict]:
        """Sums of the loss's parts, and of metrics: name to (the part whose total divides, sum)."""
        raise NotImplementedError

    def check(self, samples: Sequence[Sample]) -> None:
        """Raise DataError unless every sample has the features that are needed."""
        for sample in samples:
            missing = sorted(self.features - sample.keys())
            if missing:
                raise DataError(
                    f"{sample.get('id', 'a sample')} lacks {', '.join(missing)}, which training "
                    f"{self.name} needs."
                )


def generator(key: np.ndarray, purpose: int) -> np.random.Generator:
    """Random numbers of a sample for one purpose: the same key and purpose, the same numbers."""
    words = [int(word) for word in np.asarray(key, dtype=np.uint32)]
    return np.random.Generator(np.random.Philox(key=[words[0] << 32 | words[1], purpose]))


def keys_of(samples: Sequence[Sample]) -> mx.array:
    """The samples' keys, (B, 2) uint32."""
    return mx.array(np.stack([np.asarray(sample["key"], dtype=np.uint32) for sample in samples]))


def bucket(length: int, step: int = BUCKET) -> int:
    """The padded length: a multiple of `step`, or of an eighth of the power of two below."""
    length = max(int(length), 1)
    step = max(step, 2 ** (length.bit_length() - 1) // _BUCKETS_IN_MOST)
    return -(-length // step) * step


def padded(arrays: Iterable[np.ndarray], length: int, dtype=None) -> np.ndarray:
    """Stack arrays (n_i, ...) with zeros after them, (B, length, ...)."""
    arrays = [np.asarray(array) for array in arrays]
    dtype = dtype or arrays[0].dtype
    stacked = np.zeros((len(arrays), length, *arrays[0].shape[1:]), dtype=dtype)
    for row, array in zip(stacked, arrays, strict=True):
        row[: len(array)] = array
    return stacked


def length_mask(lengths: Sequence[int], length: int) -> np.ndarray:
    """(B, length) float32: 1 in the first `lengths[b]` places of row b."""
    return (np.arange(length)[None] < np.asarray(lengths)[:, None]).astype(np.float32)


def of_reference(sample: Sample, feature: str) -> np.ndarray:
    """A feature of the sample's prompt; of the sample itself where the prompt has none."""
    prompt = sample.get("prompt") or {}
    return np.asarray(prompt[feature] if feature in prompt else sample[feature])


def phones_of(sample: Sample, kinds: int) -> np.ndarray:
    """The sample's labels of phones, int32.

    Raises:
        DataError: a label that is none of the `kinds` there are.
    """
    phones = np.asarray(sample["phones"])
    check_tokens(phones, kinds, f"phones of {sample.get('id', 'a sample')}", DataError)
    return phones.astype(np.int32)


def total(array: mx.array) -> float:
    """The sum of an array of weights, as a number."""
    return float(np.asarray(array, dtype=np.float64).sum())
