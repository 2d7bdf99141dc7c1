"""The beginning that all sentences of a voice share, kept from one call to the next."""

from __future__ import annotations

from collections.abc import Sequence
from weakref import ref

import mlx.core as mx
import numpy as np

from ...runtime import device
from .aliases import alias, evaluated_weights, share_contents
from .cache import KVCache
from .t3 import T3


class PrefixMemory:
    """Keys and values of the latest voice's conditioning, and of no other.

    A voice is identified by its contents: read twice it is one voice, at another emotion it is
    another. With other weights (after training, in another dtype) the prefix is computed again. In
    float32 it takes 8 MB for the Llama models, at most 74 for Turbo and 28 for Nano.
    """

    def __init__(self) -> None:
        # One object, replaced whole: another thread may ask for another voice meanwhile.
        self._latest: _Prefix | None = None

    def cache_of(
        self,
        t3: T3,
        speaker_embedding: mx.array,
        prompt_tokens: mx.array | None,
        emotion: float,
    ) -> KVCache:
        """Keys and values of a voice's conditioning; arguments as `T3.embed_conditioning`'s."""
        voice = (
            np.array(speaker_embedding.astype(mx.float32)).tobytes(),
            None if prompt_tokens is None else np.array(prompt_tokens).tobytes(),
            float(emotion),
            device.on_cpu(),
        )
        weights = evaluated_weights(t3)
        latest = self._latest
        if latest is None or voice != latest.voice or not latest.weights.are(weights):
            embedded = t3.embed_conditioning(speaker_embedding, prompt_tokens, emotion)
            cache = t3.conditioning_cache(embedded)
            # Evaluated, so that it does not hold on to what it was computed from.
            mx.eval(cache.keys, cache.values)
            self._latest = latest = _Prefix(voice, cache, _KnownWeights(weights))
        return latest.cache


class _Prefix:
    """A computed prefix, and the voice and the weights that it was computed from."""

    def __init__(self, voice: tuple, cache: KVCache, weights: _KnownWeights):
        self.voice, self.cache, self.weights = voice, cache, weights


class _KnownWeights:
    """Recognizes a model's weights as long as they are neither replaced nor changed in place.

    They are known as objects, by weak references: an array that takes the place of one that is
    gone, at the same address perhaps, is another. Aliases detect changes in place; they are
    dropped with the first weight that is replaced, so that old weights are not kept alive.
    """

    def __init__(self, weights: Sequence[mx.array]):
        aliases = [alias(weight) for weight in weights]
        self._aliases = aliases
        # Not a method of this object, which the references would keep alive.
        self._objects = [ref(weight, lambda _: aliases.clear()) for weight in weights]

    def are(self, weights: Sequence[mx.array]) -> bool:
        """Tell whether evaluated weights are these, unchanged."""
        aliases = list(self._aliases)
        return (
            len(aliases) == len(weights)
            and all(own() is weight for own, weight in zip(self._objects, weights, strict=True))
            and share_contents(weights, aliases)
        )
