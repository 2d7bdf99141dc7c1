"""The S3 tokenizer's first version, converted from its published files to our keys and layout.

It is published as ONNX (CosyVoice's `speech_tokenizer_v1.onnx`), in which PyTorch's exporter chose
the names; the state dict that the `s3tokenizer` package makes of it is read too. In ONNX a weight
is identified by the operation that uses it: `/blocks.0/attn/query/MatMul` has a matrix, transposed,
and `/blocks.0/attn/query/Add` its bias.
"""

from __future__ import annotations

import contextlib
import re
from math import prod
from pathlib import Path

import mlx.core as mx
import numpy as np

from mlx_chatterbox.errors import CheckpointError

from ..formats.onnx_file import OnnxFile, OnnxNode
from .sources import open_weights

_POSITIONS = "encoders.positional_embedding"
_CODEBOOK_NODE = "/quantizer/rq/model/layers.0/_codebook/Pow_1"
_BLOCK_NODE = re.compile(r"/(blocks\.\d+)/(.+)/(MatMul|Mul|Add|Add_1|LayerNormalization)")
_ENDINGS = {"MatMul": "weight", "Mul": "weight", "Add": "bias", "Add_1": "bias"}
_FRAME_RATE = 100


def read_onnx(path: str | Path) -> tuple[dict[str, mx.array], int]:
    """Read the weights of an ONNX file under our keys, float32, and the model's tokens per second.

    Raises:
        CheckpointError: it is no such file, or it has weights that are not the tokenizer's.
    """
    with contextlib.closing(OnnxFile(path)) as file:
        weights: dict[str, np.ndarray] = {}
        left_over = []
        convolutions = [node for node in file.nodes if node.op == "Conv"]
        if len(convolutions) != 2:
            raise CheckpointError(
                f"{path} is not the S3 tokenizer's first version: it has {len(convolutions)} "
                "convolutions instead of 2."
            )
        for node in file.nodes:
            # A single number is a constant of the computation.
            taken = [n for n in node.inputs if n in file.shapes and prod(file.shapes[n]) > 1]
            for name in taken:
                key = _key(node, name, convolutions)
                if key is None:
                    left_over.append(f"{name} of {node.name}")
                elif key:
                    value = file.read(name)
                    weights[key] = value.T if _is_transposed(key, value) else value
        if left_over:
            raise CheckpointError(
                f"{path}: {len(left_over)} weight(s) that the S3 tokenizer's first version does "
                f"not have: {', '.join(left_over[:3])}."
            )
        strides = convolutions[0].integers.get("strides") or [1]
    rate = _FRAME_RATE // (2 * strides[0])
    return {key: _ours(key, value) for key, value in weights.items()}, rate


def read_state_dict(path: str | Path) -> dict[str, mx.array]:
    """Read the weights of the `s3tokenizer` package's state dict, .pt or .safetensors.

    Returns:
        float32 tensors by our keys.

    Raises:
        CheckpointError: missing, or damaged.
    """
    with contextlib.closing(open_weights(Path(path))) as reader:
        return {
            key.replace("._codebook.", ".codebook."): _ours(key, np.array(reader.read(key)))
            for key in reader.shapes
        }


def _key(node: OnnxNode, name: str, convolutions: list[OnnxNode]) -> str | None:
    """Determine our key for a weight that an operation uses.

    Returns:
        "" for a weight that is read from another operation, None for an unknown one.
    """
    if node in convolutions:
        part = {1: "weight", 2: "bias"}.get(node.inputs.index(name))
        return part and f"encoder.conv{convolutions.index(node) + 1}.{part}"
    if name == _POSITIONS:
        return "encoder.positional_embedding"
    if node.name.startswith("/quantizer/"):  # the same codebook serves several operations
        return "quantizer.codebook.embed" if node.name == _CODEBOOK_NODE else ""
    match = _BLOCK_NODE.fullmatch(node.name)
    if match is None:
        return None
    block, layer, operation = match.groups()
    ending = _ENDINGS.get(operation)
    if ending is None:  # a whole layer norm: input, weight, bias
        ending = {1: "weight", 2: "bias"}.get(node.inputs.index(name), "")
    layer = layer.replace("/", ".").replace("mlp.mlp.", "mlp.")
    return f"encoder.{block}.{layer}.{ending}"


def _is_transposed(key: str, value: np.ndarray) -> bool:
    """Tell whether ONNX has a tensor transposed: matrices, and the codebook."""
    return value.ndim == 2 and key != "encoder.positional_embedding"


def _ours(key: str, value: np.ndarray) -> mx.array:
    """Convert a tensor to MLX's layout: the channels of convolutions come last."""
    value = value.transpose(0, 2, 1) if value.ndim == 3 else value
    return mx.array(np.ascontiguousarray(value, dtype=np.float32))
