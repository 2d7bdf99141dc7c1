"""The beginnings that all sentences of a voice share, kept from one call to the next."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock
from weakref import ref

import mlx.core as mx
import numpy as np

from ...runtime import device
from ...runtime.parallel import prefill_threads
from ..decoder.aliases import alias, evaluated_weights, share_contents
from ..decoder.cache import KVCache
from .t3 import T3

# Bytes of all prefixes that are kept: four of the largest, which are Turbo's.
MOST_BYTES = 300 * 10**6


class PrefixMemory:
    """Keys and values of the conditioning of the latest voices, up to a number of bytes.

    A voice is identified by its contents: read twice it is one voice, at another emotion it is
    another. With other weights (after training, in another dtype) all prefixes are computed again.
    In float32 one takes 8 MB for the Llama models, at most 74 for Turbo and 28 for Nano. The latest
    is always kept; those that were not asked for the longest are dropped.

    Args:
        most_bytes: the bound of all that is kept.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._prefixes: _Prefixes | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of all prefixes that are kept."""
        prefixes = self._prefixes
        return 0 if prefixes is None else prefixes.nbytes

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
        # One object, replaced whole: another thread may ask for another voice meanwhile.
        prefixes = self._prefixes
        if prefixes is None or not prefixes.weights.are(weights):
            self._prefixes = prefixes = _Prefixes(KnownWeights(weights))
        cache = prefixes.get(voice)
        if cache is None:
            with prefill_threads(t3.is_small):
                embedded = t3.embed_conditioning(speaker_embedding, prompt_tokens, emotion)
                cache = t3.conditioning_cache(embedded)
                # Evaluated, so that it does not hold on to what it was computed from.
                mx.eval(cache.keys, cache.values)
            cache = prefixes.keep(voice, cache, self._most_bytes)
        return cache


class _Prefixes:
    """Prefixes that were computed from the same weights, the latest asked for last."""

    def __init__(self, weights: KnownWeights):
        self.weights, self.nbytes = weights, 0
        self._lock = Lock()
        self._caches: OrderedDict[tuple, KVCache] = OrderedDict()

    def get(self, voice: tuple) -> KVCache | None:
        with self._lock:
            if voice in self._caches:
                self._caches.move_to_end(voice)
            return self._caches.get(voice)

    def keep(self, voice: tuple, cache: KVCache, most_bytes: int) -> KVCache:
        """Add a prefix and drop old ones; returns the one of another thread that was sooner."""
        with self._lock:
            if voice not in self._caches:
                self._caches[voice] = cache
                self.nbytes += _nbytes(cache)
                while self.nbytes > most_bytes and len(self._caches) > 1:
                    self.nbytes -= _nbytes(self._caches.popitem(last=False)[1])
            return self._caches[voice]


def _nbytes(cache: KVCache) -> int:
    return sum(array.nbytes for array in (*cache.keys, *cache.values))


class KnownWeights:
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
