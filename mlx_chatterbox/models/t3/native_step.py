"""A step of decoding in C (`runtime/native`), on Linux CPUs.

MLX arranges a step's thousand operations one by one, and wakes a thread for each, which for a small
model takes as long as reading its weights does. So tokens and logits, too, are NumPy's here.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from weakref import WeakKeyDictionary

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from ...runtime import native
from ...runtime.native.layers import NotPlain, address, address_table, linear_weights, plain_weight
from .aliases import alias, evaluated_weights
from .backbone import GPT2Block, LlamaBlock
from .cache import RowCache
from .t3 import T3

MOST_ROWS = 16


class NativeStep:
    """Predicts what follows one more speech token a row, as `T3.step_apart` does.

    It holds on to the weights that T3 has when it is made.

    Raises:
        NotPlain: see `NativeStep.of`, by which to make one.
    """

    def __init__(self, t3: T3):
        self._t3, self._config = t3, t3.config
        model = t3.tfmr.model
        # C reads this memory, also after a weight was changed in place.
        self._held = [alias(weight) for weight in evaluated_weights(t3)]
        if t3.config.is_gpt2:
            layers, norm, self._wavelengths = model.h, model.ln_f, None
        else:
            layers, norm, self._wavelengths = model.layers, model.norm, np.array(model._wavelengths)
        self._norm = [plain_weight(norm, "weight"), plain_weight(norm, "bias")]
        self._weights = [list(_weights(layer)) for layer in layers]
        self._layers = address_table(self._weights)
        self._tables, self._head = _tables(t3), _head(t3)
        self._known: WeakKeyDictionary[RowCache, tuple] = WeakKeyDictionary()

    @classmethod
    def of(cls, t3: T3) -> NativeStep | None:
        """For float32 weights of plain layers, where there is compiled code; or None."""
        if not native.takes():
            return None
        try:
            return cls(t3)
        except NotPlain:
            return None

    def __call__(
        self, tokens: np.ndarray, positions: np.ndarray, caches: Sequence[RowCache]
    ) -> np.ndarray:
        """Write one slot more of each cache, in place.

        Args:
            tokens: (P,), at most `MOST_ROWS`.
            positions: (P,), of the tokens among speech tokens.
            caches: have room; their rows come one after the other.

        Returns:
            Logits (P, V) float32. A row's are the same to the bit with any others, in any order.
        """
        config, rows = self._config, [cache.rows for cache in caches]
        slots = repeated([cache.used for cache in caches], rows)
        capacities = repeated([cache.capacity for cache in caches], rows)
        embedded = self._embed(tokens, positions, slots)
        cosine = sine = None
        if self._wavelengths is not None:  # the Llama's
            angles = slots[:, None].astype(np.float32) / self._wavelengths
            cosine, sine = np.cos(angles), np.sin(angles)
        keys, values = self._addresses(caches)
        result = np.empty_like(embedded)
        arrays = (embedded, cosine, sine, slots, capacities, self._layers, keys, values)
        _, heads, _, depth = caches[0].keys[0].shape
        sizes = (len(self._layers), *embedded.shape, heads, depth, config.intermediate_size)
        pointers = [ctypes.c_void_p(address(array)) for array in (*arrays, *self._norm, result)]
        library = native.library()
        assert library is not None  # `NativeStep.of`
        if library.decode(*pointers, *sizes, ctypes.c_float(config.norm_eps)):
            raise MemoryError("decode")
        for cache in caches:
            cache.used += 1
        return self._predict(result)

    def _embed(self, tokens: np.ndarray, positions: np.ndarray, slots: np.ndarray) -> np.ndarray:
        """Embed tokens, (P,) to (P, C); GPT-2 counts positions over all of a row's slots."""
        if self._tables is None:
            at = mx.array(positions)[:, None]
            x = self._t3.embed_speech(mx.array(tokens)[:, None], at)[:, 0]
            if self._config.is_gpt2:
                x = x + self._t3.tfmr.model.wpe(mx.array(slots))
            return np.array(x.astype(mx.float32))
        of_tokens, of_positions = self._tables
        return of_tokens[tokens] + of_positions[slots if self._config.is_gpt2 else positions]

    def _predict(self, hidden: np.ndarray) -> np.ndarray:
        """Logits (P, V) from what comes out of the layers, (P, C)."""
        if self._head is None:
            # Row by row, so that none is rounded by the number of others.
            rows = [self._t3.speech_head(row[None]) for row in mx.array(hidden)]
            return np.array(mx.concatenate(rows).astype(mx.float32))
        weight, bias = self._head
        logits = native.multiply(hidden, weight)
        return logits if bias is None else logits + bias

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


def repeated(values: Sequence[int], counts: Sequence[int]) -> np.ndarray:
    """Repeat each value, (P,) int32; for so few numbers faster than NumPy's own."""
    pairs = zip(values, counts, strict=True)
    return np.array([value for value, count in pairs for _ in range(count)], dtype=np.int32)


def _tables(t3: T3) -> tuple[np.ndarray, np.ndarray] | None:
    """Embeddings of tokens and of positions; None where they are of another kind."""
    positions = t3.tfmr.model.wpe if t3.config.is_gpt2 else t3.speech_pos_emb.emb
    tables = (t3.speech_emb, positions)
    if any(type(table) is not nn.Embedding for table in tables):
        return None
    try:
        of_tokens, of_positions = (plain_weight(table, "weight") for table in tables)
    except NotPlain:
        return None
    return None if of_tokens is None or of_positions is None else (of_tokens, of_positions)


def _head(t3: T3) -> tuple[np.ndarray, np.ndarray | None] | None:
    """Weight and bias of what predicts the tokens; None where it is of another kind."""
    try:
        return linear_weights(t3.speech_head)
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
