"""T3's transformers, Llama and GPT-2, over embeddings instead of token ids.

Attribute names are the checkpoint's, which are those of Hugging Face transformers. The
caller keeps the keys and values of earlier positions (`cache.py`): a layer hands its queries and
its new keys and values to a function, which attends to all of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import mlx.core as mx
import mlx.nn as nn

from ...checks.plain import shown
from ...errors import CheckpointError
from ...nn.activations import gated_silu, gelu_approx
from ...nn.norm import LayerNorm, RMSNorm
from ...nn.rotary import Rotate, rotation
from .cache import AttendCached
from .config import T3Config


def rotary_wavelengths(config: T3Config) -> mx.array:
    """Positions per radian for every pair of channels, (D / 2,), as Llama 3 scales them.

    Source: `_compute_llama3_parameters` of Hugging Face transformers.

    Raises:
        CheckpointError: another kind of scaling.
    """
    scaling = config.rope_scaling
    kind = scaling.get("rope_type", "default") if scaling else "default"
    exponents = mx.arange(0, config.head_dim, 2) / config.head_dim
    wavelengths = config.rope_theta**exponents
    if kind == "default":
        return wavelengths
    if kind != "llama3":
        raise CheckpointError(f"T3's rope_scaling is of type {shown(kind)}; llama3 is known.")
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    turns = scaling["original_max_position_embeddings"] / (2 * math.pi * wavelengths)
    smooth = mx.clip((turns - low) / (high - low), 0.0, 1.0)
    return wavelengths / ((1 - smooth) / scaling["factor"] + smooth)


def _split_heads(x: mx.array, rows: int, heads: int) -> mx.array:
    """(B * T, heads * D) to (B, T, heads, D)."""
    return x.reshape(rows, -1, heads, x.shape[-1] // heads)


def _merge_heads(x: mx.array) -> mx.array:
    """(B, heads, T, D) to (B * T, heads * D)."""
    return x.swapaxes(1, 2).reshape(-1, x.shape[1] * x.shape[3])


class LlamaAttention(nn.Module):
    def __init__(self, config: T3Config):
        super().__init__()
        self._heads = config.num_attention_heads
        width, inner = config.hidden_size, config.num_attention_heads * config.head_dim
        self.q_proj = nn.Linear(width, inner, bias=False)
        self.k_proj = nn.Linear(width, inner, bias=False)
        self.v_proj = nn.Linear(width, inner, bias=False)
        self.o_proj = nn.Linear(inner, width, bias=False)

    def __call__(self, x: mx.array, rows: int, attend: AttendCached, rotate: Rotate):
        """(B * T, C), B being `rows`, to the same."""
        split = partial(_split_heads, rows=rows, heads=self._heads)
        keys = rotate(split(self.k_proj(x)), 1.0)
        values = split(self.v_proj(x)).swapaxes(1, 2)
        queries = rotate(split(self.q_proj(x)), keys.shape[-1] ** -0.5)
        return self.o_proj(_merge_heads(attend(queries, keys, values, 1.0)))


class LlamaMLP(nn.Module):
    def __init__(self, config: T3Config):
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def __call__(self, x: mx.array) -> mx.array:
        return self.down_proj(gated_silu(self.gate_proj(x), self.up_proj(x)))


class LlamaBlock(nn.Module):
    def __init__(self, config: T3Config):
        super().__init__()
        self.self_attn = LlamaAttention(config)
        self.mlp = LlamaMLP(config)
        self.input_layernorm = RMSNorm(config.hidden_size, eps=config.norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, eps=config.norm_eps)

    def __call__(self, x: mx.array, rows: int, attend: AttendCached, rotate: Rotate):
        x = x + self.self_attn(self.input_layernorm(x), rows, attend, rotate)
        return x + self.mlp(self.post_attention_layernorm(x))


class LlamaModel(nn.Module):
    """Source: `LlamaModel` of Hugging Face transformers, as upstream configures it."""

    def __init__(self, config: T3Config):
        super().__init__()
        self.layers = [LlamaBlock(config) for _ in range(config.num_hidden_layers)]
        self.norm = RMSNorm(config.hidden_size, eps=config.norm_eps)
        self._wavelengths = rotary_wavelengths(config)

    def __call__(self, x: mx.array, start: mx.array, attends: Sequence[AttendCached]) -> mx.array:
        """Run.

        Args:
            x: (B, T, C).
            start: (B,) int32, the position of each row's first entry.
            attends: for each layer the function that takes its queries, keys and values.

        Returns:
            (B, T, C) after the final norm.
        """
        rotate = rotation(self._wavelengths, start, x.shape[1])
        # Two dimensions throughout: MLX would take a third off and put it back at every product.
        hidden = x.flatten(0, 1)
        for layer, attend in zip(self.layers, attends, strict=True):
            hidden = layer(hidden, x.shape[0], attend, rotate)
        return self.norm(hidden).reshape(x.shape)


class GPT2Attention(nn.Module):
    def __init__(self, config: T3Config):
        super().__init__()
        self._heads = config.num_attention_heads
        self.c_attn = nn.Linear(config.hidden_size, 3 * config.hidden_size)
        self.c_proj = nn.Linear(config.hidden_size, config.hidden_size)

    def __call__(self, x: mx.array, rows: int, attend: AttendCached) -> mx.array:
        """(B * T, C), B being `rows`, to the same."""
        queries, keys, values = (
            _split_heads(part, rows, self._heads).swapaxes(1, 2)
            for part in mx.split(self.c_attn(x), 3, axis=-1)
        )
        return self.c_proj(_merge_heads(attend(queries, keys, values, queries.shape[-1] ** -0.5)))


class GPT2MLP(nn.Module):
    def __init__(self, config: T3Config):
        super().__init__()
        self.c_fc = nn.Linear(config.hidden_size, config.intermediate_size)
        self.c_proj = nn.Linear(config.intermediate_size, config.hidden_size)

    def __call__(self, x: mx.array) -> mx.array:
        return self.c_proj(gelu_approx(self.c_fc(x)))


class GPT2Block(nn.Module):
    def __init__(self, config: T3Config):
        super().__init__()
        self.attn = GPT2Attention(config)
        self.mlp = GPT2MLP(config)
        self.ln_1 = LayerNorm(config.hidden_size, eps=config.norm_eps)
        self.ln_2 = LayerNorm(config.hidden_size, eps=config.norm_eps)

    def __call__(self, x: mx.array, rows: int, attend: AttendCached) -> mx.array:
        x = x + self.attn(self.ln_1(x), rows, attend)
        return x + self.mlp(self.ln_2(x))


class GPT2Model(nn.Module):
    """GPT-2, with learned positions. Source: `GPT2Model` of Hugging Face transformers."""

    def __init__(self, config: T3Config):
        super().__init__()
        self.wpe = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.h = [GPT2Block(config) for _ in range(config.num_hidden_layers)]
        self.ln_f = LayerNorm(config.hidden_size, eps=config.norm_eps)

    def __call__(self, x: mx.array, start: mx.array, attends: Sequence[AttendCached]) -> mx.array:
        """Run; arguments and result as `LlamaModel.__call__`'s."""
        positions = start[:, None] + mx.arange(x.shape[1])
        hidden = (x + self.wpe(positions)).flatten(0, 1)
        for layer, attend in zip(self.h, attends, strict=True):
            hidden = layer(hidden, x.shape[0], attend)
        return self.ln_f(hidden).reshape(x.shape)


class Backbone(nn.Module):
    """Holds the model, so that keys read `tfmr.model...`."""

    def __init__(self, config: T3Config):
        super().__init__()
        self.model = GPT2Model(config) if config.is_gpt2 else LlamaModel(config)
