"""GPT-2 over embeddings instead of token ids, with keys and values kept as `llama.py` has it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import mlx.core as mx
import mlx.nn as nn

from ...nn.activations import gelu_approx
from ...nn.norm import LayerNorm
from .cache import AttendCached
from .heads import merge_rows, split_rows


class GPT2Sizes(Protocol):
    """The sizes that a configuration must state."""

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
    def max_position_embeddings(self) -> int: ...
    @property
    def norm_eps(self) -> float: ...


class GPT2Attention(nn.Module):
    def __init__(self, config: GPT2Sizes):
        super().__init__()
        self._heads = config.num_attention_heads
        self.c_attn = nn.Linear(config.hidden_size, 3 * config.hidden_size)
        self.c_proj = nn.Linear(config.hidden_size, config.hidden_size)

    def __call__(self, x: mx.array, rows: int, attend: AttendCached) -> mx.array:
        """(B * T, C), B being `rows`, to the same."""
        queries, keys, values = (
            split_rows(part, rows, self._heads).swapaxes(1, 2)
            for part in mx.split(self.c_attn(x), 3, axis=-1)
        )
        return self.c_proj(merge_rows(attend(queries, keys, values, queries.shape[-1] ** -0.5)))


class GPT2MLP(nn.Module):
    def __init__(self, config: GPT2Sizes):
        super().__init__()
        self.c_fc = nn.Linear(config.hidden_size, config.intermediate_size)
        self.c_proj = nn.Linear(config.intermediate_size, config.hidden_size)

    def __call__(self, x: mx.array) -> mx.array:
        return self.c_proj(gelu_approx(self.c_fc(x)))


class GPT2Block(nn.Module):
    def __init__(self, config: GPT2Sizes):
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

    def __init__(self, config: GPT2Sizes):
        super().__init__()
        self.sizes = config
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
