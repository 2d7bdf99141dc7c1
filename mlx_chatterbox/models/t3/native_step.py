"""A step of decoding in C (`runtime/native`), on Linux CPUs.

MLX arranges a step's thousand operations one by one, and wakes a thread for each, which for a small
model takes as long as reading its weights does. So tokens and logits, too, are NumPy's here.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from ...runtime import native
from ...runtime.native.layers import NotPlain, address, address_table, linear_weights, plain_weight
from .aliases import alias, evaluated_weights
from .backbone import GPT2Block, LlamaBlock
from .cache import BatchKVCache
from .t3 import T3

MOST_ROWS = 16


class NativeStep:
    """Predicts what follows one more speech token a row, as `T3.step` does.

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
        # With two places more for a layer's keys and values.
        self._layers = address_table([*weights, None, None] for weights in self._weights)
        self._memory: tuple[list, list] | None = None
        self._places: np.ndarray | None = None
        self._tables, self._head = _tables(t3), _head(t3)

    @classmethod
    def of(cls, t3: T3) -> NativeStep | None:
        """For float32 weights of plain layers, where there is compiled code; or None."""
        if not native.takes():
            return None
        try:
            return cls(t3)
        except NotPlain:
            return None

    def __call__(self, tokens: np.ndarray, position: int, slots: BatchKVCache) -> np.ndarray:
        """Write one slot more, in place.

        Args:
            tokens: (B,), at most `MOST_ROWS`.
            position: of the tokens among speech tokens.
            slots: has room; the same ones at each step.

        Returns:
            Logits (B, V) float32.
        """
        if self._places is None:
            self._places = np.arange(len(tokens), dtype=np.int32)
            self._padding = np.array(slots.padding, dtype=np.int32)
        config, positions = self._config, slots.used - self._padding
        embedded = self._embed(tokens, position, positions)
        cosine = sine = None
        if self._wavelengths is not None:  # the Llama's
            angles = positions[:, None].astype(np.float32) / self._wavelengths
            cosine, sine = np.cos(angles), np.sin(angles)
        self._point_to(slots)
        result = np.empty_like(embedded)
        arrays = (embedded, cosine, sine, self._padding, self._places, self._layers, *self._norm)
        _, heads, capacity, depth = slots.keys[0].shape
        sizes = (len(self._layers), *embedded.shape, heads, depth)
        sizes += (config.intermediate_size, capacity, slots.used)
        pointers = [ctypes.c_void_p(address(array)) for array in (*arrays, result)]
        library = native.library()
        assert library is not None  # `NativeStep.of`
        if library.decode(*pointers, *sizes, ctypes.c_float(config.norm_eps)):
            raise MemoryError("decode")
        slots.used += 1
        return self._predict(result)

    def keep(self, rows: list[int]) -> None:
        """Keep these rows and drop the others, whose slots stay in place."""
        assert self._places is not None  # a step was made
        self._places, self._padding = self._places[rows], self._padding[rows]

    def _embed(self, tokens: np.ndarray, position: int, positions: np.ndarray) -> np.ndarray:
        """(B, C); `positions` (B,) are those among all of a row's slots."""
        if self._tables is None:
            x = self._t3.embed_speech(mx.array(tokens)[:, None], mx.array([position]))[:, 0]
            if self._config.is_gpt2:
                x = x + self._t3.tfmr.model.wpe(mx.array(positions))
            return np.array(x.astype(mx.float32))
        of_tokens, of_positions = self._tables
        return of_tokens[tokens] + of_positions[positions if self._config.is_gpt2 else position]

    def _predict(self, hidden: np.ndarray) -> np.ndarray:
        """Logits (B, V) from what comes out of the layers, (B, C)."""
        if self._head is None:
            return np.array(self._t3.speech_head(mx.array(hidden)).astype(mx.float32))
        weight, bias = self._head
        logits = native.multiply(hidden, weight)
        return logits if bias is None else logits + bias

    def _point_to(self, slots: BatchKVCache) -> None:
        """Note where keys and values are, which change their place now and then."""
        memory = (slots.keys, slots.values)
        if self._memory is not None and all(
            a is b for a, b in zip(self._memory, memory, strict=True)
        ):
            return
        for column, layers in enumerate(memory, start=self._layers.shape[1] - 2):
            mx.eval(layers)
            self._layers[:, column] = [address(layer) for layer in layers]
        self._memory = memory


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
