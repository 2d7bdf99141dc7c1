"""Small T3s with weights from a seed, whose heads and vocabularies are of full size."""

from __future__ import annotations

import dataclasses
import math

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten, tree_unflatten

from ..models.config import QuantizationConfig
from ..models.t3.config import T3Config
from ..models.t3.t3 import T3
from ..weights.quantization import quantize_networks
from ..weights.variants import variant_named
from .made_up import GROUP_SIZE, bits_of, float_type

# By variant: layers, heads of 64, and the width of the inner layer.
SIZES = {
    "english": (2, 2, 192),
    "multilingual": (1, 3, 320),
    "turbo": (2, 2, 512),
    "nano": (1, 3, 768),
    "flash": (2, 2, 192),
}
MAX_TEXT_TOKENS = 900
# Logits spread so that a few hundred tokens are likely, and the stop token's so much further that
# it is drawn now and then.
_SPREAD, _STOP_SPREAD = 3.0, 1.7


def small_t3_config(variant: str) -> T3Config:
    """The variant's configuration with fewer layers, heads and text tokens."""
    layers, heads, inner = SIZES[variant]
    whole = variant_named(variant).default_config().t3
    width = 64 * heads
    return dataclasses.replace(
        whole,
        text_tokens_dict_size=min(whole.text_tokens_dict_size, 704),
        max_text_tokens=MAX_TEXT_TOKENS,
        speech_cond_prompt_len=min(whole.speech_cond_prompt_len, 24),
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        head_dim=64,
        perceiver_queries=8,
        perceiver_heads=heads,
    )


def small_t3(variant: str, precision: str = "float32", seed: int = 0) -> T3:
    """Make one.

    Args:
        variant: a name of `SIZES`.
        precision: "float32", "float16", "bfloat16", "8bit" or "4bit"; of bits are the projections.
    """
    config = variant_named(variant).default_config()
    config.t3 = small_t3_config(variant)
    t3 = T3(config.t3)
    draw = np.random.default_rng(seed)
    weights = [
        (key, mx.array(_drawn(key, value.shape, config.t3, draw)))
        for key, value in sorted(dict(tree_flatten(t3.parameters())).items())
    ]
    t3.update(tree_unflatten(weights))
    t3.eval()
    if bits_of(precision):
        _quantize(t3, config, bits_of(precision))
    t3.set_dtype(getattr(mx, float_type(precision)))
    mx.eval(t3.parameters())
    return t3


def _drawn(key: str, shape: tuple[int, ...], config: T3Config, draw) -> np.ndarray:
    """Weights by which activations stay about as large as they are; norms that do something."""
    values = draw.standard_normal(shape).astype(np.float32)
    if len(shape) < 2:
        is_scale = key.endswith("weight")
        return (is_scale + 0.1 * values).astype(np.float32)
    if not key.startswith("speech_head"):
        return values / np.float32(1.0 if "emb" in key or "wpe" in key else math.sqrt(shape[-1]))
    values *= np.float32(_SPREAD / math.sqrt(shape[-1]))
    values[config.stop_speech_token] *= _STOP_SPREAD
    return values


def _quantize(t3: T3, config, bits: int) -> None:
    rules = [{"layers": "t3.tfmr.*", "bits": bits, "group_size": GROUP_SIZE}]
    networks = nn.Module()
    networks.t3 = t3
    config = dataclasses.replace(config, quantization=QuantizationConfig("", rules))
    quantize_networks(networks, config)
