"""Quantised layers, and layers of another precision than the rest, by name and shape.

`config.json` states rules, which both the writer and the loader of a checkpoint apply by the
functions here, so that a folder loads by its own configuration and nothing is guessed. A quantised
layer is stored and computed as MLX's `QuantizedLinear` or `QuantizedEmbedding`: `weight` (uint32),
`scales` and `biases`; it is never expanded.

`weights/packing.py` is something else: it makes a file small, with convolutions too, and networks
get plain weights and compute in float32. Only linear layers and embeddings can be quantised, and
quantised they take little memory as well. A model has one or the other.
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
from ..nn.quantized_linear import install_cpu_kernels

if TYPE_CHECKING:
    from ..models.config import CheckpointConfig

SCALES, BIASES = "scales", "biases"


@dataclass(frozen=True)
class Precision:
    """The precision of a tensor.

    Attributes:
        dtype: floating-point type of its numbers or, if it is quantised, of scales and offsets.
        bits: of a quantised number; 0: it is not quantised.
        group_size: quantised numbers that share a scale.
    """

    dtype: str
    bits: int = 0
    group_size: int = 0


def group_that_fits(width: int, wanted: int) -> int | None:
    """Find MLX's largest group size up to `wanted` that divides a layer's width; None if none."""
    return max((n for n in GROUP_SIZES if n <= wanted and width % n == 0), default=None)


def precision_of(config: CheckpointConfig, key: str, shape: Iterable[int]) -> Precision:
    """Determine the precision of a tensor by the configuration.

    Only weights with two axes, those of linear layers and embeddings, are quantised; if no group
    size divides their width, they have the rule's floating-point type.

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
    """List the keys under which a checkpoint stores a tensor, with their shapes and types."""
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
    """Quantise a weight (out, in); the result has the keys of `stored_shapes`."""
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


def quantize_networks(networks: nn.Module, config: CheckpointConfig) -> None:
    """Replace the layers that are to be quantised, before or after weights are loaded."""
    if not config.quantization.rules:
        return

    def bits_of(path: str, layer: nn.Module):
        if not isinstance(layer, (nn.Linear, nn.Embedding)):
            return False
        precision = precision_of(config, f"{path}.weight", layer.weight.shape)
        if not precision.bits:
            return False
        return {"bits": precision.bits, "group_size": precision.group_size}

    nn.quantize(networks, class_predicate=bits_of)
    install_cpu_kernels(networks)


def is_quantized(layer: nn.Module) -> bool:
    """Tell whether a layer is quantised."""
    return isinstance(layer, (nn.QuantizedLinear, nn.QuantizedEmbedding))


def quantized_layers(networks: nn.Module) -> dict[str, nn.Module]:
    """Find the quantised layers, by their paths."""
    return {path: layer for path, layer in networks.named_modules() if is_quantized(layer)}


def dequantized(layer: nn.Module, weight: mx.array | None = None) -> nn.Module:
    """Make a plain layer of a quantised one.

    Args:
        weight: (out, in) to use instead of the dequantised one.
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
    """Make quantised layers plain, to enlarge them, merge adapters or write other formats.

    Args:
        paths: of the layers; None: all that are quantised.
    """
    layers = quantized_layers(networks)
    for path in layers if paths is None else paths:
        if path in layers:
            networks.update_modules(tree_unflatten([(path, dequantized(layers[path]))]))
    networks.train(networks.training)


def rules_of(networks: nn.Module, config: CheckpointConfig) -> list[dict]:
    """Return the configuration's rules, with exceptions for layers that have become plain."""
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
