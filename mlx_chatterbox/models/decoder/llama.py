"""Llama over embeddings instead of token ids.

Attribute names are the checkpoint's, which are those of Hugging Face transformers. The
caller keeps the keys and values of earlier positions (`cache.py`): a layer hands its queries and
its new keys and values to a function, which attends to all of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, Protocol

import mlx.core as mx
import mlx.nn as nn

from ...checks.plain import shown
from ...errors import CheckpointError
from ...nn.activations import gated_silu
from ...nn.norm import RMSNorm
from ...nn.rotary import Rotate, rotation
from .cache import AttendCached
from .heads import merge_rows, split_rows


class LlamaSizes(Protocol):
    """The sizes that a configuration must state, whatever else a network around it needs."""

    @property
    def hidden_size(self) -> int: ...
    @property
    def intermediate_size(self) -> int: ...
    @property
    def num_hidden_layers(self) -> int: ...
    @property
    def num_attention_heads(self) -> int: ...
    @property
    def head_dim(self) -> int: ...
    @property
    def norm_eps(self) -> float: ...
    @property
    def rope_theta(self) -> float: ...
    @property
    def rope_scaling(self) -> dict[str, Any]: ...


def rotary_wavelengths(config: LlamaSizes) -> mx.array:
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
        raise CheckpointError(f"rope_scaling is of type {shown(kind)}; llama3 is known.")
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    turns = scaling["original_max_position_embeddings"] / (2 * math.pi * wavelengths)
    smooth = mx.clip((turns - low) / (high - low), 0.0, 1.0)
    return wavelengths / ((1 - smooth) / scaling["factor"] + smooth)


class LlamaAttention(nn.Module):
    def __init__(self, config: LlamaSizes):
        super().__init__()
        self._heads = config.num_attention_heads
        width, inner = config.hidden_size, config.num_attention_heads * config.head_dim
        self.q_proj = nn.Linear(width, inner, bias=False)
        self.k_proj = nn.Linear(width, inner, bias=False)
        self.v_proj = nn.Linear(width, inner, bias=False)
        self.o_proj = nn.Linear(inner, width, bias=False)

    def __call__(self, x: mx.array, rows: int, attend: AttendCached, rotate: Rotate):
        """(B * T, C), B being `rows`, to the same."""
        split = partial(split_rows, rows=rows, heads=self._heads)
        keys = rotate(split(self.k_proj(x)), 1.0)
        values = split(self.v_proj(x)).swapaxes(1, 2)
        queries = rotate(split(self.q_proj(x)), keys.shape[-1] ** -0.5)
        return self.o_proj(merge_rows(attend(queries, keys, values, 1.0)))


class LlamaMLP(nn.Module):
    def __init__(self, config: LlamaSizes):
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def __call__(self, x: mx.array) -> mx.array:
        return self.down_proj(gated_silu(self.gate_proj(x), self.up_proj(x)))


class LlamaBlock(nn.Module):
    def __init__(self, config: LlamaSizes):
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

    def __init__(self, config: LlamaSizes):
        super().__init__()
        self.sizes = config
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
