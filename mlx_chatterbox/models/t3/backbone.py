"""T3's transformer: mlx-lm's Llama or GPT-2, fed with embeddings instead of token ids.

Importing this brings in mlx_lm, and with it transformers, which takes seconds; so `t3.py` does it
when a network is built.
"""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models import gpt2, llama
from mlx_lm.models.base import create_attention_mask

from .config import T3Config


class GPT2Model(gpt2.GPT2Model):
    """mlx-lm's GPT-2 over input embeddings, to which it adds its learned positions.

    Source: upstream `models/t3/t3.py` (`GPT2Model` of transformers with `inputs_embeds`).
    """

    def __call__(self, inputs, cache=None, input_embeddings: mx.array | None = None) -> mx.array:
        cache = cache or [None] * len(self.h)
        offset = 0 if cache[0] is None else cache[0].offset
        hidden = input_embeddings + self.wpe.weight[offset : offset + input_embeddings.shape[1]]
        mask = create_attention_mask(hidden, cache[0])
        for layer, layer_cache in zip(self.h, cache, strict=True):
            hidden = layer(hidden, mask, cache=layer_cache)
        return self.ln_f(hidden)


class Backbone(nn.Module):
    """Holds the model as mlx-lm's do, so that keys read `tfmr.model...`."""

    def __init__(self, model: nn.Module, layers: list):
        super().__init__()
        self.model = model
        self._layers = len(layers)

    def make_cache(self) -> list:
        """An empty KV cache for every layer."""
        from mlx_lm.models.cache import KVCache

        return [KVCache() for _ in range(self._layers)]


def build_backbone(config: T3Config) -> Backbone:
    """The transformer without its token embedding, which T3 never asks."""
    if config.is_gpt2:
        model = GPT2Model(
            gpt2.ModelArgs(
                model_type="gpt2",
                n_ctx=config.max_position_embeddings,
                n_embd=config.hidden_size,
                n_head=config.num_attention_heads,
                n_layer=config.num_hidden_layers,
                n_positions=config.max_position_embeddings,
                layer_norm_epsilon=config.norm_eps,
                vocab_size=1,
            )
        )
        del model["wte"]
        return Backbone(model, model.h)
    model = llama.LlamaModel(
        llama.ModelArgs(
            model_type="llama",
            hidden_size=config.hidden_size,
            num_hidden_layers=config.num_hidden_layers,
            intermediate_size=config.intermediate_size,
            num_attention_heads=config.num_attention_heads,
            head_dim=config.head_dim,
            rms_norm_eps=config.norm_eps,
            vocab_size=1,
            max_position_embeddings=config.max_position_embeddings,
            rope_theta=config.rope_theta,
            rope_scaling=config.rope_scaling,
            tie_word_embeddings=True,
        )
    )
    del model["embed_tokens"]
    return Backbone(model, model.layers)
