"""One layer of ours by itself: found by its tap's name, called with the inputs of a tap."""

from __future__ import annotations

import importlib
from collections.abc import Mapping

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlx_chatterbox.models.decoder import llama
from mlx_chatterbox.models.decoder.cache import CacheBuilder, causal_mask
from mlx_chatterbox.models.decoder.gpt2 import GPT2Model
from mlx_chatterbox.models.decoder.llama import LlamaModel
from mlx_chatterbox.models.s3gen.campplus import batch_norm_relu

from .. import COMMAND
from ..errors import ParityError
from ..taps.names import APPENDED, BACKBONE, GPT_BACKBONE, OUTPUTS, WITH_RELU
from ..taps.recording import Arrays
from .taps import FUNCTIONS, as_numpy, results_by_name

# Arguments in order, by class, where it is not x alone; None is a mask that hides nothing.
_ARGUMENTS: dict[str, tuple[str | None, ...]] = {
    "CausalBlock1D": ("x", None),
    "CausalResnetBlock1D": ("x", None, "time"),
    "BasicTransformerBlock": ("x", None),
    "Attention": ("x", None),
    "RelativeAttention": ("x", "positions", None),
    "ConformerLayer": ("x", "positions", None),
    "PreLookaheadLayer": ("x", None),
    "AttentionBlock": ("x", "context"),
    "T3CondEnc": ("speaker", "prompt", "emotion"),
    "ConditionalFlowMatching": ("noise", "mu", "spks", "cond", "n_timesteps"),
    "ConditionalDecoder": ("x", "mu", "time", "spks", "cond"),
    "HiFTGenerator": ("x", "source"),
    "GPT": ("x", "is_text", "speaker"),
}
_METHODS = {
    "ConditionalDecoder": "velocity",
    "HiFTGenerator": "decode",
    "FSQCodebook": "encode",
    "GPT": "embed_prompt",
}
_QUANTIZERS = ("GFSQ", "ResidualQuantizer")
# Functions of a tap's name inside a layer, and where they are.
_INNER = {
    "pos_enc": ("models.s3gen.encoder", "relative_positions"),
    "time_embeddings": ("models.s3gen.estimator", "time_sinusoids"),
}
# Functions that take more than arrays and numbers.
_NOT_ALONE = ("models.flash.writer.log_prior", "models.flash.schedule.table")
_TAKE_NUMPY = ("trim_silence", "resample_soxr", "normalised")


def layer_at(networks: nn.Module, name: str) -> nn.Module | None:
    """The layer of a tap's name; None if it is a function."""
    return dict(networks.named_modules()).get(name)


def call(networks: nn.Module, name: str, inputs: Mapping[str, np.ndarray]) -> Arrays:
    """Call a layer or function of ours.

    Args:
        name: a tap's.
        inputs: as recorded by a tap.

    Returns:
        Its outputs by the names that taps have.

    Raises:
        ParityError: it cannot be called by itself.
    """
    arrays = {key: _array(value) for key, value in inputs.items()}
    if name.endswith(".rotary_emb") or name in _NOT_ALONE:
        raise ParityError(f"{name} takes no arrays: compare the saved outputs.")
    layer = layer_at(networks, name)
    if layer is None:
        return _call_function(name, arrays)
    if WITH_RELU.search(name):
        return {"0": as_numpy(batch_norm_relu(layer, arrays["x"]))}
    if BACKBONE.match(name):
        return {"0": _call_backbone(networks.t3.tfmr.model, layer, arrays["x"])}
    if GPT_BACKBONE.match(name):
        x = arrays["x"]
        rows = x if x.ndim == 3 else x[None]
        return {"0": _call_backbone(networks.gpt.model, layer, rows).reshape(*x.shape[:-1], -1)}
    kind = type(layer).__name__
    arguments = [None if key is None else arrays.get(key) for key in _ARGUMENTS.get(kind, ("x",))]
    result = getattr(layer, _method(kind, arguments[0]))(*arguments)
    results = result if isinstance(result, tuple) else (result,)
    outputs = {key: as_numpy(results[int(key)]) for key in OUTPUTS.get(kind, ("0",))}
    if APPENDED.search(name):
        outputs = {"0": outputs["0"][..., arrays["x"].shape[-1] :]}
    return outputs


def _method(kind: str, x: mx.array) -> str:
    """The method of a layer that its tap is of; of some it depends on what is given."""
    if kind in _QUANTIZERS:
        return "encode" if mx.issubdtype(x.dtype, mx.floating) else "decode"
    if kind == "DVAE" and x.ndim == 1:
        return "log_mel"
    return _METHODS.get(kind, "__call__")


def _array(value: np.ndarray) -> mx.array | int | float:
    return mx.array(value) if value.ndim else value.item()


def _call_function(name: str, arrays: Mapping) -> Arrays:
    module, _, function = name.rpartition(".")
    if function in _INNER:
        module, function = _INNER[function]
    elif name not in dict(FUNCTIONS):
        raise ParityError(f"{name} is a stage; `{COMMAND} dump` computes it.")
    called = getattr(importlib.import_module(f"mlx_chatterbox.{module}"), function)
    if function in _TAKE_NUMPY:
        arrays = {k: np.array(v) if isinstance(v, mx.array) else v for k, v in arrays.items()}
    return results_by_name(called(**arrays))


def _call_backbone(model: LlamaModel | GPT2Model, layer: nn.Module, x: mx.array) -> np.ndarray:
    """Call a part of a transformer on a sequence from position 0: x (B, T, C)."""
    rows, length, _ = x.shape
    bias = causal_mask(0, length, x.dtype)
    start = mx.zeros((rows,), dtype=mx.int32)
    if isinstance(layer, (LlamaModel, GPT2Model)):
        layers = model.sizes.num_hidden_layers
        builder = CacheBuilder(layers, bias)
        return as_numpy(layer(x, start, [builder.attend_in(i) for i in range(layers)]))
    if isinstance(layer, nn.Embedding):
        return as_numpy(layer(x))
    arguments: list = [x.flatten(0, 1)]
    if type(layer).__name__.endswith(("Attention", "Block")):
        arguments += [rows, CacheBuilder(1, bias).attend_in(0)]
        if isinstance(model, LlamaModel):
            arguments.append(llama.rotation(model._wavelengths, start, length))
    return as_numpy(layer(*arguments)).reshape(rows, length, -1)
