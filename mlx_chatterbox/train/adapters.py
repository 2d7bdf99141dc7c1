"""Low-rank adapters on T3 and on the flow, over float or quantised weights; freezing of the rest.

The layers are mlx-lm's (`LoRALinear`, `DoRALinear`), except for their dropout: it is drawn from the
samples' keys, so that it does not depend on the micro-batch, and repeats when a checkpointed layer
is computed again.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Mapping
from typing import cast

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_unflatten

from ..errors import SettingError
from ..nn.quantized_linear import install_cpu_kernels
from ..weights.quantization import SCALES, dequantized, is_quantized, quantized_layers

# By the end of a layer's path: attention and feed-forward of each network.
TARGETS: dict[str, tuple[str, ...]] = {
    "llama": ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
    "gpt2": ("c_attn", "c_proj", "c_fc"),
    "flow": (
        *("to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2"),
        *("linear_q", "linear_k", "linear_v", "linear_out", "w_1", "w_2"),
    ),
}
COMPONENTS = ("t3", "flow")
# Names of the adapters' parameters; "m" are DoRA's magnitudes.
ADAPTER_PARAMETERS = ("lora_a", "lora_b", "m")
GROUP_SIZE = 64

_LAYER_NUMBER = re.compile(r"(?:^|\.)(?:layers|h)\.(\d+)\.")


class _Keys:
    """Holds the keys that dropout draws from at present, (B, 2) uint32, one a row of the batch."""

    def __init__(self):
        self.keys: mx.array | None = None


class KeyedDropout(nn.Module):
    """Dropout whose mask is a hash of the sample's key, the layer and the position.

    Unlike a generator's, its numbers do not depend on how the row is padded or batched.
    """

    def __init__(self, p: float, layer: int, source: _Keys):
        super().__init__()
        self._p = p
        self._layer = layer
        self._source = source

    def __call__(self, x: mx.array) -> mx.array:
        """x (B, ..., C) or (B * T, C), rows in the order of the keys."""
        if self._p == 0.0 or not self.training:
            return x
        if self._source.keys is None:
            raise RuntimeError("call draw_dropout_from before a training step")
        keys = self._source.keys.reshape(-1, 2)
        count = mx.arange(x.size // len(keys), dtype=mx.uint32)
        bits = _mix(_mix(keys[:, :1] ^ self._layer) + _mix(keys[:, 1:] ^ count))
        # A float32 represents 24 bits exactly.
        kept = ((bits >> 8).astype(mx.float32) * 2.0**-24 >= self._p).reshape(x.shape)
        return mx.where(kept, x / (1.0 - self._p), 0.0).astype(x.dtype)


def _mix(bits: mx.array) -> mx.array:
    """The finaliser of MurmurHash3: every bit of the input changes half of the output's."""
    bits = (bits ^ (bits >> 16)) * mx.array(0x85EBCA6B, dtype=mx.uint32)
    bits = (bits ^ (bits >> 13)) * mx.array(0xC2B2AE35, dtype=mx.uint32)
    return bits ^ (bits >> 16)


def draw_dropout_from(module: nn.Module, keys: mx.array) -> None:
    """Make the module's adapters draw their dropout from these keys, (B, 2) uint32."""
    for part in module.modules():
        if isinstance(part, KeyedDropout) and part._p:
            part._source.keys = keys


def targets(networks: nn.Module, component: str, lora=None) -> list[tuple[str, nn.Module]]:
    """Return paths and layers that get adapters, in the component's own module.

    Args:
        lora: has `targets` (ends of paths; None for `TARGETS`) and `layers` (only this many of the
            last transformer layers, None for all; used for T3 alone).

    Raises:
        SettingError: the component has no adapters, or no layer has a target's name.
    """
    module, kind = _adapted(networks, component)
    wanted = tuple(getattr(lora, "targets", None) or TARGETS[kind])
    linears = [
        (path, layer)
        for path, layer in module.named_modules()
        if isinstance(layer, (nn.Linear, nn.QuantizedLinear)) and _in_transformer(component, path)
    ]
    unused = [end for end in wanted if not any(_ends(path, end) for path, _ in linears)]
    if unused:
        ends = ", ".join(TARGETS[kind])
        raise SettingError(
            f"lora: no linear layer of {component} ends in {', '.join(unused)}; there are {ends}."
        )
    last = getattr(lora, "layers", None)
    if last is not None and component != "t3":
        last = None
    count = 1 + max((_layer_number(path) for path, _ in linears), default=-1)
    return [
        (path, layer)
        for path, layer in linears
        if any(_ends(path, end) for end in wanted)
        and (last is None or _layer_number(path) >= count - last)
    ]


def _adapted(networks: nn.Module, component: str) -> tuple[nn.Module, str]:
    if component == "t3":
        return networks.t3, networks.t3.config.backbone
    if component == "flow":
        return networks.s3gen.flow, "flow"
    raise SettingError(
        f"there are adapters for {' and '.join(COMPONENTS)} alone: train {component} in full."
    )


def _in_transformer(component: str, path: str) -> bool:
    """Exclude the linear layers of T3's heads and conditioning, which get no adapters."""
    return component != "t3" or path.startswith("tfmr.")


def _ends(path: str, end: str) -> bool:
    return path == end or path.endswith("." + end)


def _layer_number(path: str) -> int:
    match = _LAYER_NUMBER.search(path)
    return int(match.group(1)) if match else -1


def apply_lora(networks: nn.Module, component: str, lora, seed: int = 0) -> list[str]:
    """Put an adapter on every target of a component. Before training it has no effect.

    Args:
        component: "t3" or "flow".
        lora: has `rank`, `alpha`, `dropout`, `dora`, `targets` and `layers`.
        seed: seed of the adapters' first weights.

    Returns:
        The layers' paths in the component's module.

    Raises:
        SettingError: see `targets`.
    """
    from mlx_lm.tuner.dora import DoRALinear
    from mlx_lm.tuner.lora import LoRALinear

    module, _ = _adapted(networks, component)
    kind = DoRALinear if lora.dora else LoRALinear
    source, adapted = _Keys(), []
    for path, layer in targets(networks, component, lora):
        # mlx-lm takes quantised layers too; only its annotation is narrower.
        linear = cast(nn.Linear, layer)
        adapter = kind.from_base(linear, r=lora.rank, dropout=0.0, scale=lora.alpha / lora.rank)
        key = zlib.crc32(f"{component}.{path}".encode())
        bound = adapter.lora_a.shape[0] ** -0.5
        adapter.lora_a = mx.random.uniform(
            -bound, bound, adapter.lora_a.shape, key=mx.random.key(seed << 32 | key)
        )
        adapter.dropout = KeyedDropout(lora.dropout, key, source)
        adapted.append((path, adapter))
    module.update_modules(tree_unflatten(adapted))
    # New modules are in training mode; they take the mode of the whole.
    module.train(module.training)
    return [path for path, _ in adapted]


def quantize_base(networks: nn.Module, component: str, bits: int) -> list[str]:
    """Quantise the linear layers of a component's transformer, never its embeddings and heads.

    Call it before `apply_lora`: quantised weights cannot be trained, adapters on them can.

    Returns:
        The layers' paths. Layers whose width is no multiple of 64, the group, are left out.
    """
    chosen = {
        path
        for path, layer in targets(networks, component)
        if isinstance(layer, nn.Linear) and layer.weight.shape[-1] % GROUP_SIZE == 0
    }
    module, _ = _adapted(networks, component)
    nn.quantize(module, GROUP_SIZE, bits, class_predicate=lambda path, layer: path in chosen)
    install_cpu_kernels(module)
    return sorted(chosen)


def adapters(networks: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return the paths and adapters of all networks."""
    return [(path, part) for path, part in networks.named_modules() if _is_adapter(part)]


def _is_adapter(part: nn.Module) -> bool:
    return "lora_a" in part and "lora_b" in part


def has_adapters(module: nn.Module) -> bool:
    """True if a module has adapters."""
    return any(_is_adapter(part) for part in module.modules())


def adapter_weights(networks: nn.Module) -> dict[str, mx.array]:
    """Return the adapters' parameters by their keys in the networks."""
    parameters = {}
    for path, adapter in adapters(networks):
        for name in ADAPTER_PARAMETERS:
            if name in adapter:
                parameters[f"{path}.{name}"] = adapter[name]
    return parameters


def fuse(networks: nn.Module, original: Mapping[str, mx.array] | None = None) -> list[str]:
    """Replace every adapter by a plain linear layer that computes the same.

    Args:
        original: the base's weights as they are stored, by their keys in the networks. Where these
            are float and `quantize_base` has quantised them, adapters are fused into the stored
            weights. Layers that are stored quantised stay so, except that an adapter on one is
            fused into its dequantised weights. Without `original` every layer becomes plain.

    Returns:
        The paths of the layers that were fused.
    """
    fused = []
    for path, adapter in adapters(networks):
        base = adapter.linear
        if isinstance(base, nn.QuantizedLinear):
            adapter.linear = dequantized(base, _float_weight(original, path))
        fused.append((path, adapter.fuse()))
    networks.update_modules(tree_unflatten(fused))
    for path, layer in quantized_layers(networks).items():
        if original is None or f"{path}.{SCALES}" not in original:
            plain = dequantized(layer, _float_weight(original, path))
            networks.update_modules(tree_unflatten([(path, plain)]))
    networks.train(networks.training)
    return [path for path, _ in fused]


def _float_weight(original: Mapping[str, mx.array] | None, path: str) -> mx.array | None:
    """Return a layer's stored weight, or None if it is stored quantised."""
    if original is None or f"{path}.{SCALES}" in original:
        return None
    return original.get(f"{path}.weight")


def trainable(
    networks: nn.Module, modules: Iterable[nn.Module], also: Iterable[str] = ()
) -> dict[str, mx.array]:
    """Freeze all parameters but the trained ones, with MLX's `freeze`.

    Of a module with adapters only the adapters are trained, otherwise all of it.

    Args:
        modules: the networks of the tasks, parts of `networks`.
        also: keys of further trained parameters, such as embeddings of an extended vocabulary.

    Returns:
        The trained parameters by their keys in the networks.

    Raises:
        SettingError: quantised weights would be trained, or nothing is left to train.
    """
    networks.freeze()
    for module in modules:
        if has_adapters(module):
            for part in module.modules():
                if _is_adapter(part):
                    names = [name for name in ADAPTER_PARAMETERS if name in part]
                    part.unfreeze(keys=names, recurse=False)
        elif any(map(is_quantized, module.modules())):
            raise SettingError("quantised weights cannot be trained: add `lora`.")
        else:
            module.unfreeze()
    for key in also:
        path, name = key.rsplit(".", 1)
        part = dict(networks.named_modules())[path]
        part.unfreeze(keys=name, recurse=False)
    parameters = dict(tree_flatten(networks.trainable_parameters()))
    if not parameters:
        raise SettingError("nothing is left to train: every component is frozen.")
    return parameters
