"""A step of decoding in C (`runtime/native`), on Linux CPUs.

MLX arranges a step's thousand operations one by one, and wakes a thread for each, which for a small
model takes as long as reading its weights does. So tokens and logits, too, are NumPy's here.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from functools import reduce
from operator import add
from weakref import WeakKeyDictionary

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from ...runtime import native
from ...runtime.native.layers import NotPlain, address, address_table, linear_weights, plain_weight
from .aliases import alias, evaluated_weights
from .cache import RowCache
from .gpt2 import GPT2Block, GPT2Model
from .llama import LlamaBlock
from .network import DecoderNetwork

MOST_ROWS = 16


class NativeStep:
    """Predicts what follows once more was written in each row, as `DecoderNetwork.step_apart` does.

    It holds on to the weights that the network has when it is made.

    Raises:
        NotPlain: see `NativeStep.of`, by which to make one.
    """

    def __init__(self, network: DecoderNetwork):
        self._network = network
        model = network.transformer
        # C reads this memory, also after a weight was changed in place.
        self._held = [alias(weight) for weight in evaluated_weights(network.module)]
        # The Llama's; GPT-2 does not turn anything.
        self._wavelengths: np.ndarray | None = None
        layers: Sequence[GPT2Block | LlamaBlock]
        norm: nn.Module
        if isinstance(model, GPT2Model):
            layers, norm = model.h, model.ln_f
        else:
            layers, norm, self._wavelengths = model.layers, model.norm, np.array(model._wavelengths)
        self._norm = [plain_weight(norm, "weight"), plain_weight(norm, "bias")]
        self._weights = [list(_weights(layer)) for layer in layers]
        self._layers = address_table(self._weights)
        self._tables, self._heads = _tables(network), _heads(network)
        self._known: WeakKeyDictionary[RowCache, tuple] = WeakKeyDictionary()

    @classmethod
    def of(cls, network: DecoderNetwork) -> NativeStep | None:
        """For float32 weights of plain layers, where there is compiled code; or None."""
        if not native.takes():
            return None
        try:
            return cls(network)
        except NotPlain:
            return None

    def __call__(
        self, tokens: np.ndarray, positions: np.ndarray, caches: Sequence[RowCache]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Write one slot more of each cache, in place.

        Args:
            tokens: (P,) or (P, W), at most `MOST_ROWS`.
            positions: (P,), of the tokens among those written.
            caches: have room; their rows come one after the other.

        Returns:
            Logits (P, V), or (P, W, V), and the hidden states that they follow from, (P, C),
            float32. A row's are the same to the bit with any others, in any order.
        """
        sizes, rows = self._network.transformer.sizes, [cache.rows for cache in caches]
        slots = repeated([cache.used for cache in caches], rows)
        capacities = repeated([cache.capacity for cache in caches], rows)
        embedded = self._embed(tokens, positions, slots)
        cosine = sine = None
        if self._wavelengths is not None:  # the Llama's
            angles = slots[:, None].astype(np.float32) / self._wavelengths
            cosine, sine = np.cos(angles), np.sin(angles)
        keys, values = self._addresses(caches)
        hidden = np.empty_like(embedded)
        arrays = (embedded, cosine, sine, slots, capacities, self._layers, keys, values)
        _, heads, _, depth = caches[0].keys[0].shape
        counts = (len(self._layers), *embedded.shape, heads, depth, sizes.intermediate_size)
        in_pairs = int(self._network.rows_in_pairs)
        pointers = [ctypes.c_void_p(address(array)) for array in (*arrays, *self._norm, hidden)]
        library = native.library()
        assert library is not None  # `NativeStep.of`
        if library.decode(*pointers, *counts, in_pairs, ctypes.c_float(sizes.norm_eps)):
            raise MemoryError("decode")
        for cache in caches:
            cache.used += 1
        return self._predict(hidden), hidden

    def _embed(self, tokens: np.ndarray, positions: np.ndarray, slots: np.ndarray) -> np.ndarray:
        """Embed tokens, to (P, C); GPT-2 counts positions over all of a row's slots."""
        model = self._network.transformer
        if self._tables is None:
            x = self._network.embed_written(mx.array(tokens), mx.array(positions))
            if isinstance(model, GPT2Model):
                x = x + model.wpe(mx.array(slots))
            return np.array(x.astype(mx.float32))
        entries = [entry for _, entry in self._network.lookups(tokens, positions)]
        if isinstance(model, GPT2Model):
            entries.append(slots)
        first, *others = (table[at] for table, at in zip(self._tables, entries, strict=True))
        return reduce(add, others, first)

    def _predict(self, hidden: np.ndarray) -> np.ndarray:
        """Logits (P, V) or (P, W, V) from what comes out of the layers, (P, C)."""
        if self._heads is None:
            # Row by row, so that none is rounded by the number of others.
            rows = [self._network.predict(row[None]) for row in mx.array(hidden)]
            return np.array(mx.concatenate(rows))
        logits = []
        for weight, bias in self._heads:
            product = native.multiply(hidden, weight)
            logits.append(product if bias is None else product + bias)
        return logits[0] if len(logits) == 1 else np.stack(logits, axis=1)

    def _addresses(self, caches: Sequence[RowCache]) -> tuple[np.ndarray, np.ndarray]:
        """Addresses of the keys, and of the values, in each layer and row, (layers, P) uint64."""
        tables = [self._table_of(cache) for cache in caches]
        keys, values = (np.concatenate(part, axis=1) for part in zip(*tables, strict=True))
        return keys, values

    def _table_of(self, cache: RowCache) -> tuple[np.ndarray, np.ndarray]:
        """`_addresses` of one cache, whose arrays change their place when it gets more room."""
        known = self._known.get(cache)
        if known is None or known[0] is not cache.keys or known[1] is not cache.values:
            mx.eval(cache.keys, cache.values)
            tables = []
            for layers in (cache.keys, cache.values):
                one = layers[0].nbytes // cache.rows
                first = np.array([address(layer) for layer in layers], dtype=np.uint64)
                tables.append(first[:, None] + np.arange(cache.rows, dtype=np.uint64) * one)
            known = self._known[cache] = (cache.keys, cache.values, *tables)
        return known[2], known[3]


def repeated(values: Sequence, counts: Sequence[int]) -> np.ndarray:
    """Repeat each value, (P,) or (P, W) int32; for so few numbers faster than NumPy's own."""
    pairs = zip(values, counts, strict=True)
    return np.array([value for value, count in pairs for _ in range(count)], dtype=np.int32)


def _tables(network: DecoderNetwork) -> list[np.ndarray] | None:
    """Tables of embeddings, GPT-2's positions the last; None where they are of another kind."""
    none = np.zeros((0, len(network.heads)) if len(network.heads) > 1 else 0, dtype=np.int32)
    tables = [table for table, _ in network.lookups(none, none)]
    if isinstance(network.transformer, GPT2Model):
        tables.append(network.transformer.wpe)
    if any(type(table) is not nn.Embedding for table in tables):
        return None
    try:
        weights = [plain_weight(table, "weight") for table in tables]
    except NotPlain:
        return None
    return [weight for weight in weights if weight is not None]


def _heads(network: DecoderNetwork) -> list[tuple[np.ndarray, np.ndarray | None]] | None:
    """Weight and bias of what predicts each number; None where they are of another kind."""
    try:
        return [linear_weights(head) for head in network.heads]
    except NotPlain:
        return None


def _weights(layer: LlamaBlock | GPT2Block) -> Iterator[np.ndarray | None]:
    """A layer's, in the order of `Layer` in `decoder.c`."""
    if isinstance(layer, GPT2Block):
        yield from (plain_weight(layer.ln_1, "weight"), plain_weight(layer.ln_1, "bias"))
        weight, bias = linear_weights(layer.attn.c_attn)
        if bias is None:
            raise NotPlain
        for third in zip(np.split(weight, 3), np.split(bias, 3), strict=True):
            yield from third
        yield from linear_weights(layer.attn.c_proj)
        yield from (plain_weight(layer.ln_2, "weight"), plain_weight(layer.ln_2, "bias"))
        yield None
        yield from linear_weights(layer.mlp.c_fc)
        yield from linear_weights(layer.mlp.c_proj)
        return
    attention, mlp = layer.self_attn, layer.mlp
    yield from (plain_weight(layer.input_layernorm, "weight"), None)
    for linear in (attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj):
        yield from linear_weights(linear)
    yield from (plain_weight(layer.post_attention_layernorm, "weight"), None)
    yield linear_weights(mlp.gate_proj)[0]
    yield from linear_weights(mlp.up_proj)
    yield from linear_weights(mlp.down_proj)
