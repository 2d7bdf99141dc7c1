"""The beginning that all sentences of a voice share, remembered from one call to the next."""

from __future__ import annotations

from dataclasses import dataclass
from weakref import ref

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten

from ...runtime import device
from .cache import Past
from .t3 import T3


class PrefixMemory:
    """Keys and values of the latest voice's conditioning, and of no other.

    A voice is known by its contents: read twice it is one voice, at another emotion it is another.
    Weights are known as objects, by weak references: an array that takes the place of one that is
    gone, at the same address perhaps, is not the same, and replaced weights are not kept alive.
    With other weights (of training, of a dtype) the prefix is computed anew. In float32 it takes
    8 MB for the Llama models, at most 74 for Turbo and 28 for Nano.
    """

    def __init__(self):
        # One object, replaced whole: another thread may ask for another voice meanwhile.
        self._latest: _Prefix | None = None

    def past_of(
        self,
        t3: T3,
        speaker_embedding: mx.array,
        prompt_tokens: mx.array | None,
        emotion: float,
    ) -> Past:
        """Keys and values of a voice's conditioning; arguments as `T3.embed_conditioning`'s."""
        voice = (
            np.array(speaker_embedding.astype(mx.float32)).tobytes(),
            None if prompt_tokens is None else np.array(prompt_tokens).tobytes(),
            float(emotion),
            device.on_cpu(),
        )
        weights = [weight for _, weight in tree_flatten(t3.parameters())]
        latest = self._latest
        if latest is None or not latest.belongs_to(weights, voice):
            embedded = t3.embed_conditioning(speaker_embedding, prompt_tokens, emotion)
            past = t3.conditioning_past(embedded)
            # Evaluated, so that it does not hold on to what it was computed from.
            mx.eval(past.keys, past.values)
            self._latest = latest = _Prefix([ref(weight) for weight in weights], voice, past)
        return latest.past


@dataclass(frozen=True)
class _Prefix:
    """A computed prefix, and the weights and the voice that it was computed from."""

    weights: list[ref[mx.array]]
    voice: tuple
    past: Past

    def belongs_to(self, weights: list[mx.array], voice: tuple) -> bool:
        """Tell whether the prefix of these weights and this voice would be this one."""
        return (
            voice == self.voice
            and len(weights) == len(self.weights)
            and all(own() is weight for own, weight in zip(self.weights, weights, strict=True))
        )
