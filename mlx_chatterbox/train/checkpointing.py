"""Gradient checkpointing: a layer's activations are computed again instead of kept.

Activations then take the memory of one layer and all layers' inputs, instead of that of all layers,
for about a third more time.
"""

from __future__ import annotations

from functools import cache

import mlx.core as mx
import mlx.nn as nn

from ..models.decoder.gpt2 import GPT2Block
from ..models.decoder.llama import LlamaBlock
from ..models.s3gen.encoder import ConformerLayer
from ..models.s3gen.estimator import BasicTransformerBlock, CausalResnetBlock1D
from ..models.s3gen.hift import ResBlock
from ..models.s3tokenizer.s3tokenizer import FSMNBlock


def _layer_types() -> tuple[type, ...]:
    return (
        *(LlamaBlock, GPT2Block, ConformerLayer, BasicTransformerBlock, CausalResnetBlock1D),
        *(FSMNBlock, ResBlock),
    )


class _Checkpointed:
    """Marks the classes that `_checkpointed` makes."""


@cache
def _checkpointed(layer_type: type) -> type:
    """Return a subclass of a layer whose call keeps nothing but its inputs.

    A subclass, so that a single layer can change to it and back: its parameters keep their names,
    and layers of other models are not affected.
    """

    def call(self, *args, **kwargs):
        if not self.training:
            return layer_type.__call__(self, *args, **kwargs)
        # Gradients reach only the arguments of a checkpoint, so parameters and arrays are passed as
        # arguments; masks by name and caches, which are no arrays, are not.
        parameters = self.trainable_parameters()
        arrays = [value for value in args if isinstance(value, mx.array)]
        named = {key: value for key, value in kwargs.items() if isinstance(value, mx.array)}

        def inner(traced, arrays, named):
            left = iter(arrays)
            positional = [next(left) if isinstance(value, mx.array) else value for value in args]
            self.update(traced)
            try:
                return layer_type.__call__(self, *positional, **{**kwargs, **named})
            finally:
                self.update(parameters)

        return mx.checkpoint(inner)(parameters, arrays, named)

    names = {"__call__": call, "__doc__": layer_type.__doc__}
    return type(layer_type.__name__, (_Checkpointed, layer_type), names)


def enable(module: nn.Module) -> int:
    """Checkpoint every transformer and residual layer inside a module, in training mode.

    Returns:
        The number of these layers.
    """
    types = _layer_types()
    layers = [part for part in module.modules() if type(part) in types]
    for layer in layers:
        # mypy takes classes for unhashable whose instances are (a Module is a dict).
        layer.__class__ = _checkpointed(type(layer))  # type: ignore[arg-type]
    return len(layers)


def disable(module: nn.Module) -> None:
    """Undo `enable`."""
    for part in module.modules():
        if isinstance(part, _Checkpointed):
            part.__class__ = type(part).__mro__[2]
