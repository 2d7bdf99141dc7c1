"""A small ChatTTS with weights from a seed, whose codes are as many as the large one's."""

from __future__ import annotations

import math

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten, tree_unflatten

from ..models.chattts.config import (
    BodyConfig,
    ChatTTSConfig,
    DVAEConfig,
    GPTConfig,
    VocosConfig,
)
from ..models.chattts.networks import ChatTTSNetworks
from .made_up import GROUP_SIZE, bits_of, float_type

# As of a small T3: a few hundred tokens are likely, and the stop token is drawn now and then.
_SPREAD, _STOP_SPREAD = 3.0, 1.7


# The GPT of the schedules, with as many positions as the large one's.
_GPT = GPTConfig(
    num_text_tokens=700,
    stop_text_token=680,
    speaker_token=690,
    hidden_size=128,
    intermediate_size=192,
    num_hidden_layers=2,
    num_attention_heads=2,
)


def small_chattts_config(gpt: GPTConfig = _GPT, n_fft: int = 128, hop: int = 32) -> ChatTTSConfig:
    """Build a configuration with every layer and few channels.

    Args:
        n_fft, hop: of spectrograms, in samples; 1024 and 256 are the large one's.
    """
    body = {"bottleneck": 8, "num_layers": 2}
    return ChatTTSConfig(
        gpt=gpt,
        decoder=BodyConfig(gpt.hidden_size // 2, hidden_channels=12, out_channels=14, **body),
        dvae=DVAEConfig(
            decoder=BodyConfig(12, hidden_channels=10, out_channels=12, **body),
            encoder=BodyConfig(18, hidden_channels=10, out_channels=24, **body),
            n_fft=n_fft,
            hop=hop,
        ),
        vocos=VocosConfig(12, 20, num_layers=2, n_fft=n_fft, hop=hop),
        n_mels=10,
    )


def small_chattts(precision: str = "float32", seed: int = 0) -> ChatTTSNetworks:
    """Make one.

    Args:
        precision: "float32", "float16", "bfloat16", "8bit" or "4bit"; of bits are the projections
            of the GPT.
    """
    config = small_chattts_config()
    networks = ChatTTSNetworks(config)
    draw = np.random.default_rng(seed)
    weights = [
        (key, mx.array(_drawn(key, value.shape, config.gpt, draw)))
        for key, value in sorted(dict(tree_flatten(networks.parameters())).items())
    ]
    networks.update(tree_unflatten(weights))
    networks.eval()
    if bits_of(precision):
        nn.quantize(networks.gpt.model, GROUP_SIZE, bits_of(precision))
    networks.set_dtype(getattr(mx, float_type(precision)))
    mx.eval(networks.parameters())
    return networks


def _drawn(key: str, shape: tuple[int, ...], config: GPTConfig, draw) -> np.ndarray:
    """Weights by which activations stay about as large as they are."""
    values = draw.standard_normal(shape).astype(np.float32)
    if len(shape) < 2:
        is_scale = key.endswith("weight")
        return (is_scale + 0.1 * values).astype(np.float32)
    if not key.startswith("gpt.head"):
        inputs = math.prod(shape[1:])
        return values / np.float32(1.0 if "gpt.emb" in key else math.sqrt(inputs))
    values *= np.float32(_SPREAD / math.sqrt(shape[-1]))
    if "text" in key:
        values[config.stop_text_token] *= _STOP_SPREAD
    else:
        # Any of four ends the row.
        values[config.stop_code] /= _STOP_SPREAD
    return values
