"""Layers of few bits, and layers of another precision than the rest: by name and shape.

`config.json` states rules; whoever writes a checkpoint and whoever loads it ask here what they mean
for a layer, so a folder loads by its own configuration and nothing is guessed. A quantised layer is
stored and computed with as MLX's `QuantizedLinear` or `QuantizedEmbedding`: `weight` (uint32),
`scales` and `biases`; it is never expanded.

That is not `weights/packing.py`, which makes a file small whatever its tensors are, convolutions
too, and gives plain weights to networks that compute in float32. Quantised layers can only be
linear layers and embeddings, and make memory small as well. A model has one or the other.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_unflatten

from ..models.config import GROUP_SIZES
from ..nn.few_bits import for_any_device

if TYPE_CHECKING:
    from ..models.config import ModelConfig

SCALES, BIASES = "scales", "biases"


@dataclass(frozen=True)
class Precision:
    """Of a tensor: its floating-point type and, quantised, bits and numbers a scale.

    In a quantised layer `dtype` is that of the scales and offsets.
    """

    dtype: str
    bits: int = 0
    group_size: int = 0


def group_that_fits(width: int, wanted: int) -> int | None:
    """The largest of MLX's group sizes, at most `wanted`, that divides a layer's width, or None."""
    return max((n for n in GROUP_SIZES if n <= wanted and width % n == 0), default=None)


def precision_of(config: ModelConfig, key: str, shape: Iterable[int]) -> Precision:
    """In what precision the configuration wants a tensor.

    Only the weights of linear layers and embeddings, which alone have two axes, are quantised; of
    those, what no group size divides keeps the rule's floating-point type.

    Args:
        key: as in `model.safetensors`, unquantised: `t3.speech_head.weight`.
        shape: unquantised, (out, in) or (entries, width).
    """
    shape = tuple(shape)
    layer, _, name = key.rpartition(".")
    for rule in config.quantization.rules:
        if not fnmatchcase(layer, rule["layers"]):
            continue
        dtype, bits = rule.get("dtype", config.dtype), rule.get("bits", 0)
        if bits and name == "weight" and len(shape) == 2:
            group_size = group_that_fits(shape[-1], rule["group_size"])
            if group_size is not None:
                return Precision(dtype, bits, group_size)
        return Precision(dtype)
    return Precision(config.dtype)


def stored_shapes(
    key: str, shape: Iterable[int], precision: Precision
) -> dict[str, tuple[tuple[int, ...], mx.Dtype]]:
    """Keys, shapes and types that a floating-point tensor has in a checkpoint."""
    shape, dtype = tuple(shape), getattr(mx, precision.dtype)
    if not precision.bits:
        return {key: (shape, dtype)}
    layer = key.rpartition(".")[0]
    rows, width = shape
    groups = (rows, width // precision.group_size)
    return {
        key: ((rows, width * precision.bits // 32), mx.uint32),
        f"{layer}.{SCALES}": (groups, dtype),
        f"{layer}.{BIASES}": (groups, dtype),
    }


def quantized(key: str, weight: mx.array, precision: Precision) -> dict[str, mx.array]:
    """A weight (out, in) as it is stored, under the keys of `stored_shapes`."""
    dtype = getattr(mx, precision.dtype)
    # The scales are found in float32 and rounded once.
    codes, scales, biases = mx.quantize(
        weight.astype(mx.float32), precision.group_size, precision.bits
    )
    layer = key.rpartition(".")[0]
    return {
        key: codes,
        f"{layer}.{SCALES}": scales.astype(dtype),
        f"{layer}.{BIASES}": biases.astype(dtype),
    }


def quantize_networks(networks: nn.Module, config: ModelConfig) -> None:
    """Replace the layers that are to be quantised, before or after weights are loaded."""
    if not config.quantization.rules:
        return

    def chosen(path: str, layer: nn.Module):
        if not isinstance(layer, (nn.Linear, nn.Embedding)):
            return False
        precision = precision_of(config, f"{path}.weight", layer.weight.shape)
        if not precision.bits:
            return False
        return {"bits": precision.bits, "group_size": precision.group_size}

    nn.quantize(networks, class_predicate=chosen)
    for_any_device(networks)


def is_quantized(layer: nn.Module) -> bool:
    """Whether a layer's weights are of few bits."""
    return isinstance(layer, (nn.QuantizedLinear, nn.QuantizedEmbedding))


def quantized_layers(networks: nn.Module) -> dict[str, nn.Module]:
    """The quantised layers by their paths."""
    return {path: layer for path, layer in networks.named_modules() if is_quantized(layer)}


def dequantized(layer: nn.Module, weight: mx.array | None = None) -> nn.Module:
    """The plain layer that a quantised one stands for.

    Args:
        weight: to use instead of what the bits have left.
    """
    if weight is None:
        weight = mx.dequantize(
            layer.weight, layer.scales, layer.biases, layer.group_size, layer.bits, mode=layer.mode
        )
    weight = weight.astype(layer.scales.dtype)
    plain: nn.Embedding | nn.Linear
    if isinstance(layer, nn.QuantizedEmbedding):
        plain = nn.Embedding(*weight.shape)
    else:
        plain = nn.Linear(weight.shape[1], weight.shape[0], bias="bias" in layer)
        if "bias" in layer:
            plain.bias = layer.bias
    plain.weight = weight
    return plain


def dequantize_layers(networks: nn.Module, paths: Iterable[str] | None = None) -> None:
    """Make quantised layers plain, for what needs their numbers: growing, fusing, other formats."""
    found = quantized_layers(networks)
    for path in found if paths is None else paths:
        if path in found:
            networks.update_modules(tree_unflatten([(path, dequantized(found[path]))]))
    networks.train(networks.training)


def rules_of(networks: nn.Module, config: ModelConfig) -> list[dict]:
    """The configuration's rules, with those layers excepted that are plain by now."""
    plain = [
        path
        for path, layer in networks.named_modules()
        if isinstance(layer, (nn.Linear, nn.Embedding))
        and not is_quantized(layer)
        and precision_of(config, f"{path}.weight", layer.weight.shape).bits
    ]
    return [
        *({"layers": path, "dtype": config.dtype} for path in sorted(plain)),
        *config.quantization.rules,
    ]
