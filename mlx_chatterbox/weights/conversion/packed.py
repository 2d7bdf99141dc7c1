"""Readers that unpack packed tensors, one at a time, or rename keys.

Two ways of packing: MLX's quantised layers (`X.weight` in uint32, `X.scales`, `X.biases`), as
mlx-audio stores its 4- and 8-bit models, and ours for weights in the package (`KEY`,
`KEY.scales`, `KEY.offsets`; see `mlx_chatterbox/weights/packing.py`).
"""

from __future__ import annotations

from collections.abc import Mapping

import mlx.core as mx

from mlx_chatterbox.errors import CheckpointError

from ..formats.tensor_reader import TensorReader

GROUP_SIZE = 64  # MLX's own, where nothing else is stated
_WORD_BITS = 32
_BITS = (2, 3, 4, 5, 6, 8)


class UnpackingReader:
    """A reader of plain tensors that unpacks those of another reader.

    Attributes:
        shapes, dtypes: of the unpacked tensors, which have the type of their scales.

    Args:
        reader: of the file.
        group_size: numbers that share a scale.
        own_sizes: the same by key, for tensors with another group size.
        offsets: ending of the keys of offsets: ".biases" (MLX's layers) or ".offsets" (ours).
    """

    def __init__(
        self,
        reader: TensorReader,
        group_size: int = GROUP_SIZE,
        own_sizes: Mapping[str, int] | None = None,
        offsets: str = ".biases",
    ):
        self._reader, self._offsets = reader, offsets
        self.path = reader.path
        self._packed: dict[str, tuple[str, str, int, int]] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.dtypes: dict[str, str] = {}
        parts = set()
        for scales in [key for key in reader.shapes if key.endswith(".scales")]:
            module = scales.removesuffix(".scales")
            key = f"{module}.weight" if offsets == ".biases" else module
            if key not in reader.shapes or reader.dtypes[key] != "U32":
                continue
            size = (own_sizes or {}).get(key, group_size)
            parts |= {scales, module + offsets}
            self._packed[key] = (scales, module + offsets, size, self._bits(key, scales, size))
        for key, shape in reader.shapes.items():
            if key in self._packed:
                scales, _, size, _ = self._packed[key]
                groups = reader.shapes[scales][-1]
                self.shapes[key] = (*shape[:-1], groups * size)
                self.dtypes[key] = reader.dtypes[scales]
            elif key not in parts:
                self.shapes[key], self.dtypes[key] = shape, reader.dtypes[key]

    def _bits(self, key: str, scales: str, size: int) -> int:
        """Compute the bits of a number from the words and groups of a row."""
        shapes = self._reader.shapes
        words, groups = shapes[key][-1], shapes[scales][-1]
        bits = words * _WORD_BITS / max(1, groups * size)
        if bits not in _BITS:
            raise CheckpointError(
                f"{self.path}: {key} is packed in groups of another size than {size}."
            )
        return int(bits)

    def packing(self, key: str) -> tuple[int, int] | None:
        """Return bits and group size of a tensor in MLX's packing, None for any other."""
        if key not in self._packed or self._offsets != ".biases":
            return None
        _, _, size, bits = self._packed[key]
        return bits, size

    def parts(self, key: str) -> list[mx.array]:
        """Read a packed tensor as it is stored: codes, scales and offsets."""
        scales, offsets, _, _ = self._packed[key]
        if offsets not in self._reader.shapes:
            raise CheckpointError(f"{self.path}: {key} is packed and {offsets} is missing.")
        return [self._reader.read(part) for part in (key, scales, offsets)]

    def read(self, key: str) -> mx.array:
        """Read one tensor, and unpack it."""
        if key not in self._packed:
            return self._reader.read(key)
        _, _, size, bits = self._packed[key]
        codes, scales, offsets = self.parts(key)
        scales, offsets = scales.astype(mx.float32), offsets.astype(mx.float32)
        try:
            return mx.dequantize(codes, scales, offsets, size, bits)
        except ValueError as error:
            raise CheckpointError(f"{self.path}: {key} is damaged: {error}") from None

    def close(self) -> None:
        """Let go of the file."""
        self._reader.close()


class RenamingReader:
    """A reader that renames the keys of another.

    Args:
        names: stored keys by the new ones.
    """

    def __init__(self, reader: TensorReader, names: Mapping[str, str]):
        self._reader, self._names, self.path = reader, dict(names), reader.path
        self.shapes = {key: reader.shapes[stored] for key, stored in self._names.items()}
        self.dtypes = {key: reader.dtypes[stored] for key, stored in self._names.items()}

    def read(self, key: str) -> mx.array:
        """Read one tensor."""
        return self._reader.read(self._names[key])

    def close(self) -> None:
        """Let go of the file."""
        self._reader.close()
