"""A step of decoding in C (`nn/native`), on Linux CPUs.

MLX arranges a step's thousand operations one by one, which for a small model takes as long as
reading its weights does.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

import mlx.core as mx
import numpy as np

from ...nn import native
from ...nn.native.layers import NotPlain, address, linear_weights, plain, table
from .backbone import GPT2Block, LlamaBlock
from .cache import Slots
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
        mx.eval(t3.parameters())
        if t3.config.is_gpt2:
            layers, norm, self._wavelengths = model.h, model.ln_f, None
        else:
            layers, norm, self._wavelengths = model.layers, model.norm, np.array(model._wavelengths)
        self._norm = [plain(norm, "weight"), plain(norm, "bias")]
        self._weights = [list(_weights(layer)) for layer in layers]
        # With two places more for a layer's keys and values.
        self._layers = table([*weights, None, None] for weights in self._weights)
        self._memory: tuple[list, list] | None = None

    @classmethod
    def of(cls, t3: T3) -> NativeStep | None:
        """For float32 weights of plain layers, where there is compiled code; or None."""
        if not native.takes():
            return None
        try:
            return cls(t3)
        except NotPlain:
            return None

    def __call__(self, tokens: mx.array, position: int, slots: Slots) -> mx.array:
        """Write one slot more, in place.

        Args:
            tokens: (B,), at most `MOST_ROWS`.
            position: of the tokens among speech tokens.
            slots: has room.

        Returns:
            Logits (B, V) float32.
        """
        config, padding = self._config, np.array(slots.padding, dtype=np.int32)
        positions = slots.used - padding
        x = self._t3.embed_speech(tokens[:, None], mx.array([position]))[:, 0]
        cosine = sine = None
        if config.is_gpt2:
            x = x + self._t3.tfmr.model.wpe(mx.array(positions))
        else:
            angles = positions[:, None].astype(np.float32) / self._wavelengths
            cosine, sine = np.cos(angles), np.sin(angles)
        self._point_to(slots)
        given = np.array(x.astype(mx.float32))
        result = np.empty_like(given)
        arrays = (given, cosine, sine, padding, self._layers, *self._norm, result)
        _, heads, capacity, depth = slots.keys[0].shape
        sizes = (len(self._layers), *given.shape, heads, depth)
        sizes += (config.intermediate_size, capacity, slots.used)
        pointers = [ctypes.c_void_p(address(array)) for array in arrays]
        if native.library().decode(*pointers, *sizes, ctypes.c_float(config.norm_eps)):
            raise MemoryError("decode")
        slots.used += 1
        return self._t3.speech_head(mx.array(result))

    def _point_to(self, slots: Slots) -> None:
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


def _weights(layer: LlamaBlock | GPT2Block) -> Iterator[np.ndarray | None]:
    """A layer's, in the order of `Layer` in `decoder.c`."""
    if isinstance(layer, GPT2Block):
        yield from (plain(layer.ln_1, "weight"), plain(layer.ln_1, "bias"))
        for third in zip(*(np.split(a, 3) for a in linear_weights(layer.attn.c_attn)), strict=True):
            yield from third
        yield from linear_weights(layer.attn.c_proj)
        yield from (plain(layer.ln_2, "weight"), plain(layer.ln_2, "bias"))
        yield None
        yield from linear_weights(layer.mlp.c_fc)
        yield from linear_weights(layer.mlp.c_proj)
        return
    attention, mlp = layer.self_attn, layer.mlp
    yield from (plain(layer.input_layernorm, "weight"), None)
    for linear in (attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj):
        yield from linear_weights(linear)
    yield from (plain(layer.post_attention_layernorm, "weight"), None)
    yield linear_weights(mlp.gate_proj)[0]
    yield from linear_weights(mlp.up_proj)
    yield from linear_weights(mlp.down_proj)
