"""Nodes and weights of an ONNX file, without the onnx package.

An ONNX file is a Protocol Buffers message: a sequence of fields, each with a number and a wire
type, of which unknown ones can be skipped. Weights are read from their place in the file on demand.
Formats: https://protobuf.dev/programming-guides/encoding/, onnx/onnx.proto.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import prod
from pathlib import Path

import numpy as np

from mlx_chatterbox.checks.plain import MAX_INTEGER, named
from mlx_chatterbox.checks.safetensors_header import MAX_AXES
from mlx_chatterbox.errors import CheckpointError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
# onnx.proto's field numbers.
_MODEL_GRAPH = 7
_GRAPH_NODE, _GRAPH_INITIALIZER = 1, 5
_NODE_INPUT, _NODE_OUTPUT, _NODE_NAME, _NODE_OP, _NODE_ATTRIBUTE = 1, 2, 3, 4, 5
_ATTRIBUTE_NAME, _ATTRIBUTE_INTS = 1, 8
_TENSOR_DIMS, _TENSOR_TYPE, _TENSOR_FLOATS, _TENSOR_NAME = 1, 2, 4, 8
_TENSOR_RAW, _TENSOR_LOCATION = 9, 14
_EXTERNAL = 1
# TensorProto.DataType of floating-point tensors, in the file's byte order.
_FLOATING = {1: "<f4", 10: "<f2", 11: "<f8"}


@dataclass
class OnnxNode:
    """One operation: the names of its inputs, and those of its attributes that are integers."""

    name: str = ""
    op: str = ""
    inputs: list[str] = field(default_factory=list)
    integers: dict[str, list[int]] = field(default_factory=dict)


@dataclass
class _Tensor:
    name: str = ""
    shape: list[int] = field(default_factory=list)
    kind: int = 0
    raw: tuple[int, int] | None = None
    floats: list[tuple[int, int]] = field(default_factory=list)
    external: bool = False


class OnnxFile:
    """An ONNX file, to be closed after use.

    Attributes:
        nodes: in the order of computation.
        shapes: of the floating-point weights, by name.

    Raises:
        CheckpointError: not an ONNX file, or cut short.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        try:
            if not self.path.is_file():  # a pipe without a writer would never be opened
                raise ValueError("it is not a file")
            with self.path.open("rb") as file:
                self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path} cannot be read: {error}.") from None
        self.nodes: list[OnnxNode] = []
        self._tensors: dict[str, _Tensor] = {}
        try:
            for number, start, end in self._fields(0, len(self._bytes)):
                if number == _MODEL_GRAPH:
                    self._read_graph(start, end)
        except (IndexError, ValueError, TypeError):
            self._bytes.close()
            raise CheckpointError(f"{path} is no ONNX file, or cut short.") from None
        if not self.nodes:
            self._bytes.close()
            raise CheckpointError(f"{path} is no ONNX file: it has no graph.")
        self.shapes = {
            name: tuple(tensor.shape)
            for name, tensor in self._tensors.items()
            if tensor.kind in _FLOATING
        }

    def close(self) -> None:
        """Close the file."""
        self._bytes.close()

    def read(self, name: str) -> np.ndarray:
        """Read a floating-point weight as float32, a copy.

        Raises:
            CheckpointError: it is in another file, or incomplete.
        """
        tensor, count = self._tensors[name], prod(self.shapes[name])
        if tensor.external:
            raise CheckpointError(
                f"{self.path}: {named(name)} is in a separate file, which is not read; save the "
                "model as one file (onnx.save without external data)."
            )
        spans = tensor.floats if tensor.raw is None else [tensor.raw]
        kind = "<f4" if tensor.raw is None else _FLOATING[tensor.kind]
        have = sum(end - start for start, end in spans) / np.dtype(kind).itemsize
        if have != count:
            raise CheckpointError(f"{self.path}: {named(name)} has {have:g} numbers, not {count}.")
        # Each span holds complete numbers, or their count would be another.
        values = np.frombuffer(b"".join(self._bytes[start:end] for start, end in spans), kind)
        return values.astype(np.float32).reshape(self.shapes[name])

    def _read_graph(self, start: int, end: int) -> None:
        for number, begin, stop in self._fields(start, end):
            if number == _GRAPH_NODE:
                self.nodes.append(self._read_node(begin, stop))
            elif number == _GRAPH_INITIALIZER:
                tensor = self._read_tensor(begin, stop)
                self._tensors[tensor.name] = tensor

    def _read_node(self, start: int, end: int) -> OnnxNode:
        node = OnnxNode()
        for number, begin, stop in self._fields(start, end):
            if number == _NODE_INPUT:
                node.inputs.append(self._text(begin, stop))
            elif number == _NODE_NAME:
                node.name = self._text(begin, stop)
            elif number == _NODE_OP:
                node.op = self._text(begin, stop)
            elif number == _NODE_ATTRIBUTE:
                name, values = "", []
                for inner, first, last in self._fields(begin, stop):
                    if inner == _ATTRIBUTE_NAME:
                        name = self._text(first, last)
                    elif inner == _ATTRIBUTE_INTS:
                        values += self._integers(first, last)
                node.integers[name] = values
        return node

    def _read_tensor(self, start: int, end: int) -> _Tensor:
        tensor = _Tensor()
        for number, begin, stop in self._fields(start, end):
            if number == _TENSOR_DIMS:
                tensor.shape += self._integers(begin, stop, MAX_AXES)
                if len(tensor.shape) > MAX_AXES or max(tensor.shape, default=0) > MAX_INTEGER:
                    raise ValueError("a tensor of more axes or longer than there are")
            elif number == _TENSOR_TYPE:
                (tensor.kind,) = self._integers(begin, stop)
            elif number == _TENSOR_NAME:
                tensor.name = self._text(begin, stop)
            elif number == _TENSOR_RAW:
                tensor.raw = begin, stop
            elif number == _TENSOR_FLOATS:
                tensor.floats.append((begin, stop))
            elif number == _TENSOR_LOCATION:
                tensor.external = self._integers(begin, stop) == [_EXTERNAL]
        return tensor

    def _fields(self, at: int, end: int) -> Iterator[tuple[int, int, int]]:
        """Yield number, begin and end of each field's contents; an integer's are its own bytes."""
        while at < end:
            tag, at = self._varint(at)
            kind = tag & 7
            if kind == _VARINT:
                _, stop = self._varint(at)
            elif kind == _BYTES:
                length, at = self._varint(at)
                stop = at + length
            elif kind in (_FIXED64, _FIXED32):
                stop = at + (8 if kind == _FIXED64 else 4)
            else:
                raise ValueError("no such kind of field")
            if stop > end:
                raise ValueError("a field that is longer than what it is in")
            yield tag >> 3, at, stop
            at = stop

    def _varint(self, at: int) -> tuple[int, int]:
        """Read an integer in groups of seven bits, the lowest first, and return its end too."""
        value = 0
        for shift in range(0, 70, 7):
            byte = self._bytes[at]
            at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value, at
        raise ValueError("an integer without an end")

    def _integers(self, at: int, end: int, most: int = 1000) -> list[int]:
        """Read one integer, or several in sequence.

        Raises:
            ValueError: more than `most`.
        """
        values = []
        while at < end:
            value, at = self._varint(at)
            values.append(value)
            if len(values) > most:
                raise ValueError("a row of more integers than there can be")
        return values

    def _text(self, start: int, end: int) -> str:
        return self._bytes[start:end].decode("utf-8")
