"""Readers that show packed tensors as the tensors they stand for, one at a time.

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
    """A reader of plain tensors over one of packed ones.

    Attributes:
        shapes, dtypes: of what is shown; a packed tensor has the type of its scales.

    Args:
        reader: of the file.
        group_size: numbers that share a scale.
        own_sizes: the same by key, for tensors that have another.
        offsets: ending of the offsets: ".biases" (MLX's layers) or ".offsets" (ours).
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
        """Bits of a number, from how many words a row of so many groups takes."""
        shapes = self._reader.shapes
        words, groups = shapes[key][-1], shapes[scales][-1]
        bits = words * _WORD_BITS / max(1, groups * size)
        if bits not in _BITS:
            raise CheckpointError(
                f"{self.path}: {key} is packed in groups of another size than {size}."
            )
        return int(bits)

    def packing(self, key: str) -> tuple[int, int] | None:
        """Bits and group size of a packed tensor, None for another or one of our own packing."""
        if key not in self._packed or self._offsets != ".biases":
            return None
        _, _, size, bits = self._packed[key]
        return bits, size

    def parts(self, key: str) -> list[mx.array]:
        """A packed tensor as it is stored: codes, scales and offsets."""
        scales, offsets, _, _ = self._packed[key]
        if offsets not in self._reader.shapes:
            raise CheckpointError(f"{self.path}: {key} is packed and {offsets} is missing.")
        return [self._reader.read(part) for part in (key, scales, offsets)]

    def read(self, key: str) -> mx.array:
        """One tensor, read now and unpacked."""
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
    """A reader whose keys have other names: `names` from the shown to the stored ones."""

    def __init__(self, reader: TensorReader, names: Mapping[str, str]):
        self._reader, self._names, self.path = reader, dict(names), reader.path
        self.shapes = {key: reader.shapes[stored] for key, stored in self._names.items()}
        self.dtypes = {key: reader.dtypes[stored] for key, stored in self._names.items()}

    def read(self, key: str) -> mx.array:
        """One tensor, read now."""
        return self._reader.read(self._names[key])

    def close(self) -> None:
        """Let go of the file."""
        self._reader.close()
