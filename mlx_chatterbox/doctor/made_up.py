"""Networks of full size with random weights: the results mean nothing, the cost is real."""

from __future__ import annotations

import dataclasses
import math

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_unflatten

from ..models.config import ModelConfig, QuantizationConfig
from ..runtime import device
from ..weights.checkpoint import Chatterbox, build
from ..weights.quantization import is_quantized
from ..weights.variants import variant_named

GROUP_SIZE = 64
# No token is this one, so that decoding goes on for as long as it is timed.
NEVER = -1


def float_type(precision: str) -> str:
    """Type of all that is not quantized in a precision such as "float16" or "8bit"."""
    if not precision.endswith("bit"):
        return precision
    return "float32" if device.on_cpu() else "float16"


def bits_of(precision: str) -> int:
    """Bits of T3's projections, or 0."""
    return int(precision[:-3]) if precision.endswith("bit") else 0


def configuration(variant: str, precision: str) -> ModelConfig:
    """A variant's own, in a precision, and so that its T3 never stops."""
    config = variant_named(variant).default_config()
    bits = bits_of(precision)
    rules = [{"layers": "t3.tfmr.*", "bits": bits, "group_size": GROUP_SIZE}] if bits else []
    return dataclasses.replace(
        config,
        dtype=float_type(precision),
        t3=dataclasses.replace(config.t3, stop_speech_token=NEVER),
        quantization=QuantizationConfig("", rules),
    )


def networks_of(variant: str, precision: str) -> Chatterbox:
    """All networks of a variant; none takes memory before it is filled."""
    return build(configuration(variant, precision))


def fill(network: nn.Module, precision: str) -> nn.Module:
    """Give it weights, evaluated.

    Random numbers are drawn once for every shape, and shifted for each layer: drawing all would
    take many times as long as the measurement.
    """
    dtype = getattr(mx, float_type(precision))
    drawn: dict[tuple, mx.array] = {}
    layers = dict(network.named_modules())
    new = []
    for number, (key, value) in enumerate(dict(tree_flatten(network.parameters())).items()):
        path, _, name = key.rpartition(".")
        layer = layers.get(path)
        if layer is not None and is_quantized(layer) and name in ("scales", "biases"):
            made = mx.full(value.shape, _offset_or_scale(name, layer.bits, value.shape), dtype)
        elif value.ndim < 2:
            made = value.astype(dtype)
        else:
            kind = (value.shape, value.dtype == mx.uint32)
            if kind not in drawn:
                drawn[kind] = _drawn(value, dtype)
            made = mx.roll(drawn[kind], number + 1, 0)
        mx.eval(made)
        new.append((key, made))
    network.update(tree_unflatten(new))
    return network


def _drawn(like: mx.array, dtype: mx.Dtype) -> mx.array:
    if like.dtype == mx.uint32:
        # Of 32 bits at once MLX draws the upper ones alone.
        upper, lower = (mx.random.randint(0, 2**16, like.shape).astype(mx.uint32) for _ in "ab")
        made = upper * 2**16 + lower
    else:
        fan_in = math.prod(like.shape[1:])
        made = (mx.random.normal(like.shape) / math.sqrt(fan_in)).astype(dtype)
    mx.eval(made)
    return made


def _offset_or_scale(name: str, bits: int, shape: tuple[int, ...]) -> float:
    """A scale or offset by which random codes mean numbers of mean 0 and variance 1 / width."""
    scale = math.sqrt(12.0 / (shape[-1] * GROUP_SIZE)) / 2**bits
    return scale if name == "scales" else -scale * (2**bits - 1) / 2


def size_of(variant: str, precision: str, part: str) -> int:
    """Bytes of a part's weights (`t3`, `s3gen`), without making any."""
    network = getattr(networks_of(variant, precision), part)
    width = getattr(mx, float_type(precision)).size
    return sum(
        value.nbytes if value.dtype == mx.uint32 else value.size * width
        for value in dict(tree_flatten(network.parameters())).values()
    )
