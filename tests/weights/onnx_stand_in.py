"""An ONNX file of the S3 tokenizer's first version, with the names that PyTorch's exporter made.

Written byte by byte, so that the tests need no onnx package; `onnx.load` reads it too.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def field(number: int, value: int | str | bytes) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def initializer(name: str, value: np.ndarray, as_floats: bool = False) -> bytes:
    kind = {"float32": 1, "int64": 7, "float16": 10}[str(value.dtype)]
    dims = b"".join(field(1, n) for n in value.shape)
    data = field(4 if as_floats else 9, np.ascontiguousarray(value).tobytes())
    return dims + field(2, kind) + field(8, name) + data


def node(name: str, op: str, inputs: list[str], strides: int | None = None) -> bytes:
    out = b"".join(field(1, one) for one in inputs)
    out += field(2, f"{name}_output") + field(3, name) + field(4, op)
    if strides is not None:
        out += field(5, field(1, "strides") + field(8, strides) + field(20, 7))
    return out


def speech_tokenizer_v1(
    path: Path, weights: dict[str, np.ndarray], rate: int, constants: bool = False
) -> Path:
    """Write `weights`, named and laid out as the `s3tokenizer` package's state dict.

    constants: with a shape and a factor among the weights, which that package does not expect.
    """
    convs = {
        50: ("onnx::Conv_1519", "onnx::Conv_1520", "onnx::Conv_1521", "onnx::Conv_1522"),
        25: (
            *("encoders.conv1.weight", "encoders.conv1.bias"),
            *("encoders.conv2.weight", "encoders.conv2.bias"),
        ),
    }[rate]
    tensors = {
        convs[0]: weights["encoder.conv1.weight"],
        convs[1]: weights["encoder.conv1.bias"],
        convs[2]: weights["encoder.conv2.weight"],
        convs[3]: weights["encoder.conv2.bias"],
        "encoders.positional_embedding": weights["encoder.positional_embedding"],
        "codebook": weights["quantizer._codebook.embed"].T,
    }
    nodes = [
        node("/conv1/Conv", "Conv", ["mel", *convs[:2]], 50 // rate),
        node("/conv2/Conv", "Conv", ["x", *convs[2:]], 2),
        node("/Add", "Add", ["x", "encoders.positional_embedding"]),
    ]
    if constants:
        tensors["shape"] = np.array([1, 2], dtype=np.int64)
        tensors["factor"] = np.array([0.5], dtype=np.float32)
        nodes += [
            node("/Reshape", "Reshape", ["x", "shape"]),
            node("/blocks.0/attn/Mul", "Mul", ["x", "factor"]),
        ]
    for key, value in weights.items():
        if not key.startswith("encoder.blocks."):
            continue
        _, block, index, *layer, ending = key.split(".")
        inner = "/".join(layer) if "mlp" not in layer else f"mlp/{'.'.join(layer)}"
        norm = layer[-1].endswith("_ln")
        operation = {
            (True, "weight"): "Mul",
            (True, "bias"): "Add_1",
            (False, "weight"): "MatMul",
            (False, "bias"): "Add",
        }[norm, ending]
        name = f"{key}.exported"
        tensors[name] = value.T
        nodes.append(node(f"/{block}.{index}/{inner}/{operation}", operation, ["x", name]))
        if norm:
            nodes.append(node(f"/{block}.{index}/{inner}/Pow", "Pow", ["x", "exponent"]))
    quantizer = "/quantizer/rq/model/layers.0/_codebook"
    nodes += [
        node(f"{quantizer}/MatMul", "MatMul", ["x", "codebook"]),
        node(f"{quantizer}/Pow_1", "Pow", ["codebook", "two"]),
    ]
    graph = b"".join(field(1, one) for one in nodes) + field(2, "tokenizer")
    graph += b"".join(
        field(5, initializer(name, value, as_floats=name == "codebook"))
        for name, value in tensors.items()
    )
    opset = field(8, field(2, 13))
    path.write_bytes(field(1, 7) + opset + field(2, "pytorch") + field(7, graph))
    return path
