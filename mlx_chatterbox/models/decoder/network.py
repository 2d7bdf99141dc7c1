"""Networks that write tokens one at a time: a transformer between tables of embeddings and heads.

A step of every network here is the same: what was written last is embedded as a sum of rows of
tables, one position goes through the transformer with the cache of those before, and the heads
predict what comes next. Networks differ in their tables, their heads, and what precedes the first
step, so those are all that a subclass states. One that writes two kinds of tokens, such as
ChatTTS's GPT, is two of these about one transformer.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import reduce
from operator import add
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from .cache import (
    AttendCached,
    CacheBuilder,
    KVCache,
    RowCache,
    attends_apart,
    attends_to_shared,
    causal_mask,
)
from .gpt2 import GPT2Model
from .llama import LlamaModel
from .sampler import Sampler

# Bytes of weights.
_SMALL = 32 * 2**20

# A table of embeddings, and for each row of a step its entry, (P,).
Lookup = tuple[nn.Embedding, Any]


class DecoderNetwork(ABC):
    """A transformer with what it writes; `W` is how many numbers it writes at a step.

    Attributes:
        keeps_hidden: True if what tokens are predicted from is of use beside them.
        rows_in_pairs: True if most sentences have two product rows, for classifier-free guidance.
    """

    keeps_hidden = False
    rows_in_pairs = False

    def __init__(self) -> None:
        self._compiled_step: Callable | None = None
        self._alike_widths: dict[tuple, int] = {}

    @property
    @abstractmethod
    def module(self) -> nn.Module:
        """The module with all weights of a step."""

    @property
    @abstractmethod
    def transformer(self) -> LlamaModel | GPT2Model:
        """The layers, which may belong to another network as well."""

    @property
    @abstractmethod
    def heads(self) -> Sequence[nn.Module]:
        """W linear layers, one for each number that is written at a step."""

    @property
    @abstractmethod
    def sampler(self) -> Sampler:
        """How what it writes is drawn."""

    @property
    @abstractmethod
    def dtype(self) -> mx.Dtype:
        """Type of the embeddings, and so of the activations."""

    @abstractmethod
    def lookups(self, tokens: Any, positions: Any) -> list[Lookup]:
        """Entries of tables whose sum is the embedding of what was written last.

        Args:
            tokens: (P,), or (P, W) where W numbers are written at a step; MLX's or NumPy's.
            positions: (P,), of the tokens among those that are written, or (1,) if all are alike.
        """

    @property
    def is_small(self) -> bool:
        """True if the weights stay in the cache, so that two cores read them at no cost.

        Larger ones are read from memory at each step: then that is what a step takes its time for,
        and as many rows as possible are to share it.
        """
        sizes = self.transformer.sizes
        width, inside = sizes.hidden_size, sizes.num_attention_heads * sizes.head_dim
        attention, mlp = 4 * width * inside, 3 * width * sizes.intermediate_size
        # By size, in float32: it is asked for every sentence.
        return 4 * sizes.num_hidden_layers * (attention + mlp) <= _SMALL

    def embed_written(self, tokens: mx.array, positions: mx.array) -> mx.array:
        """Embed what was written last; arguments as of `lookups`, returns (P, C)."""
        return reduce(add, (table(entry) for table, entry in self.lookups(tokens, positions)))

    def predict(self, hidden: mx.array) -> mx.array:
        """(..., C) after the final norm to logits, float32: (..., V), or (..., W, V)."""
        logits = [head(hidden) for head in self.heads]
        both = logits[0] if len(logits) == 1 else mx.stack(logits, axis=-2)
        return both.astype(mx.float32)

    def empty_cache(self) -> KVCache:
        """Keys and values of no position, in one row."""
        sizes = self.transformer.sizes
        shape = (1, sizes.num_attention_heads, 0, sizes.head_dim)
        layers = (mx.zeros(shape, dtype=self.dtype),) * sizes.num_hidden_layers
        return KVCache(layers, layers)

    def hidden_states(
        self, embeddings: mx.array, earlier: KVCache | None = None
    ) -> tuple[mx.array, KVCache]:
        """Run the transformer.

        Args:
            embeddings: (B, T, C).
            earlier: keys and values of the positions before them, in one row or B.

        Returns:
            (B, T, C) after the final norm; the cache with these positions.
        """
        rows, length, _ = embeddings.shape
        first = 0 if earlier is None else earlier.length
        layers = self.transformer.sizes.num_hidden_layers
        bias = causal_mask(first, length, embeddings.dtype)
        builder = CacheBuilder(layers, bias, earlier)
        start = mx.full((rows,), first, dtype=mx.int32)
        attends = [builder.attend_in(layer) for layer in range(layers)]
        return self.transformer(embeddings, start, attends), builder.cache()

    def step(
        self,
        tokens: mx.array,
        positions: mx.array,
        slots: mx.array,
        memory: list[mx.array],
        extent: int,
    ) -> tuple[mx.array, mx.array, list[mx.array]]:
        """Predict what follows once more was written in each row.

        Args:
            tokens: (P,) or (P, W).
            positions: (P,) int32, of the tokens among those written, or (1,) if all are alike.
            slots: (P,) int32, where their keys and values go, or (1,) if all are alike.
            memory: the layers' keys, then their values, each (P, H, capacity, D).
            extent: number of slots that are attended to.

        Returns:
            Logits as of `predict`; the hidden states that they follow from, (P, C); the memory
            with the tokens.
        """
        memory = list(memory)
        attends = attends_to_shared(memory, slots, extent, self.dtype)
        return *self._step(tokens, positions, slots, attends), memory

    def step_apart(
        self, tokens: mx.array, positions: mx.array, slots: mx.array, caches: Sequence[RowCache]
    ) -> tuple[mx.array, mx.array]:
        """Predict as `step` does, with each row's attention computed by itself.

        Args:
            tokens, positions, slots: (P,); rows beyond those of the caches are nobody's.
            caches: their rows come one after the other. They get one more slot.

        Returns:
            Logits and hidden states, as `step`.
        """
        attends = attends_apart(caches, tokens.shape[0])
        predicted = self._step(tokens, positions, slots, attends)
        for cache in caches:
            cache.used += 1
        return predicted

    def _step(
        self,
        tokens: mx.array,
        positions: mx.array,
        slots: mx.array,
        attends: Sequence[AttendCached],
    ) -> tuple[mx.array, mx.array]:
        embeddings = self.embed_written(tokens, positions)
        start = mx.broadcast_to(slots, tokens.shape[:1])
        hidden = self.transformer(embeddings[:, None], start, attends)[:, 0]
        return self.predict(hidden), hidden

    @property
    def alike_widths(self) -> dict[tuple, int]:
        """Measured by `queued_steppers.alike_width`."""
        return self._alike_widths

    @property
    def compiled_step(self) -> Callable:
        """`step`, traced once for every number of rows and every capacity of the cache.

        The weights are inputs of the trace, so it stays right when they are replaced.
        """
        compiled = self._compiled_step
        if compiled is None:
            compiled = self._compiled_step = mx.compile(self.step, inputs=[self.module.state])
        return compiled
