"""Faults of weights and of what a layer was built with: conversions gone wrong."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn

from mlx_chatterbox.nn import conv

from .fault import Fault


def _reversed_kernel(networks) -> None:
    layer = networks.s3gen.mel2wav.conv_pre
    layer.weight = layer.weight[:, ::-1]


def _missing_bias(networks) -> None:
    layer = networks.s3gen.flow.encoder.pre_lookahead_layer.conv1
    layer.bias = mx.zeros_like(layer.bias)


def _untransposed(networks) -> None:
    for block in networks.t3.tfmr.model.h:
        block.attn.c_proj.weight = block.attn.c_proj.weight.T


def _swapped_gates(networks) -> None:
    """Order the gates as other libraries do: input, cell, forget, output."""
    lstm = networks.ve.lstm
    for name, value in list(lstm.parameters().items()):
        enter, forget, new, leave = mx.split(value, 4)
        lstm[name] = mx.concatenate([enter, new, forget, leave])


def _loose_epsilon(networks) -> None:
    for _, layer in networks.s3gen.speaker_encoder.named_modules():
        if isinstance(layer, nn.BatchNorm):
            layer.eps = 1e-3


def _swapped_position_biases(networks) -> None:
    for layer in networks.s3gen.flow.encoder.encoders:
        attention = layer.self_attn
        attention.pos_bias_u, attention.pos_bias_v = attention.pos_bias_v, attention.pos_bias_u


def _symmetric_padding(networks) -> None:
    for _, layer in networks.s3gen.flow.decoder.estimator.named_modules():
        if isinstance(layer, conv.CausalConv1d):
            layer._padding = (1, 1)


def _fault(name, what, stage, layer, weights, variant="english") -> Fault:
    return Fault(name, what, (stage,), layer, weights=weights, variant=variant)


FAULTS = (
    _fault(
        "transposed_kernel",
        "a convolution's taps in reverse",
        "vocoder",
        "s3gen.mel2wav.conv_pre",
        weights=_reversed_kernel,
    ),
    _fault(
        "missing_bias",
        "a convolution without its bias",
        "flow",
        "s3gen.flow.encoder.pre_lookahead_layer.conv1",
        weights=_missing_bias,
    ),
    _fault(
        "untransposed_projection",
        "GPT-2's square projections as Hugging Face stores them",
        "t3",
        "t3.tfmr.model.h.0.attn.c_proj",
        weights=_untransposed,
        variant="nano",
    ),
    _fault(
        "swapped_lstm_gates",
        "an LSTM's forget and cell gates exchanged",
        "voice_encoder",
        "ve.lstm",
        weights=_swapped_gates,
    ),
    _fault(
        "wrong_epsilon",
        "batch norms with an epsilon of 1e-3",
        "speaker_encoder",
        "s3gen.speaker_encoder.head.bn1",
        weights=_loose_epsilon,
    ),
    _fault(
        "wrong_causal_padding",
        "causal convolutions padded at both ends",
        "estimator",
        "s3gen.flow.decoder.estimator.down_blocks.0.0.block1.block.0",
        weights=_symmetric_padding,
    ),
    _fault(
        "swapped_position_biases",
        "the biases of content and of distance exchanged",
        "flow",
        "s3gen.flow.encoder.encoders.0.self_attn",
        weights=_swapped_position_biases,
    ),
)
