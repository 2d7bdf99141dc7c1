"""Reading and writing of safetensors files, one tensor at a time.

The header of a file states the place of each tensor, so a model of gigabytes can be read, changed
and written with only one tensor in memory.
Format: https://huggingface.co/docs/safetensors
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import prod
from pathlib import Path

import mlx.core as mx
import numpy as np

from mlx_chatterbox.checks.safetensors_header import TensorInfo, lazy_tensors, read_header
from mlx_chatterbox.errors import CheckpointError
from mlx_chatterbox.weights.shards import check_shards, files_of

# Name in the file: MLX type, and the NumPy type with the same bytes.
DTYPES: dict[str, tuple[mx.Dtype, type]] = {
    "F32": (mx.float32, np.float32),
    "F16": (mx.float16, np.float16),
    "BF16": (mx.bfloat16, np.uint16),
    "I64": (mx.int64, np.int64),
    "I32": (mx.int32, np.int32),
    "I16": (mx.int16, np.int16),
    "I8": (mx.int8, np.int8),
    "U64": (mx.uint64, np.uint64),
    "U32": (mx.uint32, np.uint32),
    "U16": (mx.uint16, np.uint16),
    "U8": (mx.uint8, np.uint8),
    "BOOL": (mx.bool_, np.bool_),
    "F64": (mx.float32, np.float64),  # read as float32, as MLX has no float64 on a GPU
}
NAMES = {dtype: name for name, (dtype, _) in DTYPES.items() if name != "F64"}


class SafetensorsReader:
    """A safetensors file whose header has been compared with its length.

    Attributes:
        tensors: places, shapes and types by key, in the order of the bytes.
        shapes, dtypes: of every tensor by key; types by their names in the file.

    Raises:
        CheckpointError: not a safetensors file, truncated, or of a type that cannot be read.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.tensors = read_header(path)
        self.shapes = {key: info.shape for key, info in self.tensors.items()}
        self.dtypes = {key: info.dtype for key, info in self.tensors.items()}
        self._unread: dict[str, mx.array] = {}  # MLX reads a tensor when it is asked for

    def close(self) -> None:
        """Close the file."""
        self._unread = {}

    def read(self, key: str) -> mx.array:
        """Read one tensor, directly into its place in memory.

        Raises:
            CheckpointError: the file has changed since it was opened.
        """
        info = self.tensors[key]
        # MLX reads no file with a tensor of float64 in it.
        if "F64" in self.dtypes.values() or prod(info.shape) == 0:
            return self._through_numpy(key, info)
        try:
            if key not in self._unread:
                self._unread = lazy_tensors(self.path)
            array = self._unread.pop(key)  # kept there, it would stay in memory
            mx.eval(array)
        except (RuntimeError, ValueError, KeyError):
            raise CheckpointError(f"{self.path} changed while it was read.") from None
        return array

    def _through_numpy(self, key: str, info: TensorInfo) -> mx.array:
        """Read tensors that MLX cannot read: of float64, as float32, and empty ones."""
        dtype, stored = DTYPES[info.dtype]
        values: np.ndarray = np.empty(prod(info.shape), dtype=stored)
        try:
            with self.path.open("rb") as file:
                file.seek(info.start)
                count = file.readinto(values.data.cast("B")) if values.size else 0
        except OSError as error:
            raise CheckpointError(f"{self.path} cannot be read: {error.strerror}.") from None
        if count != values.nbytes:
            raise CheckpointError(f"{self.path} changed while it was read: {key} is cut short.")
        if info.dtype == "F64":
            values = values.astype(np.float32)
        array = mx.array(values.reshape(info.shape))
        return array.view(dtype) if info.dtype == "BF16" else array


class ShardedReader:
    """A safetensors file that is split into shards, read as if it were whole.

    Raises:
        CheckpointError: as of `SafetensorsReader`; a shard is missing, or not what the index says.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        shards = [SafetensorsReader(shard) for shard in files_of(self.path)]
        names = [shard.path.relative_to(self.path.parent).as_posix() for shard in shards]
        keys = [list(shard.shapes) for shard in shards]
        check_shards(self.path, dict(zip(names, keys, strict=True)))
        self._of = {key: shard for shard in shards for key in shard.shapes}
        self.shapes = {key: shard.shapes[key] for key, shard in self._of.items()}
        self.dtypes = {key: shard.dtypes[key] for key, shard in self._of.items()}

    def close(self) -> None:
        """Close the files."""
        for shard in self._of.values():
            shard.close()

    def read(self, key: str) -> mx.array:
        """Read one tensor; errors as of `SafetensorsReader`."""
        return self._of[key].read(key)


class SafetensorsWriter:
    """A writer of a safetensors file of known shapes, tensor after tensor, in a fixed order.

    Args:
        path: written in place, so that it is incomplete until the end.
        layout: for each key its shape and MLX type, in the order of writing.
        metadata: strings for the header.
        digest: a `hashlib` object, updated with every byte written.
    """

    def __init__(
        self,
        path: str | Path,
        layout: Mapping[str, tuple[tuple[int, ...], mx.Dtype]],
        metadata: Mapping[str, str] | None = None,
        digest=None,
    ):
        header: dict = {"__metadata__": dict(metadata)} if metadata else {}
        end = 0
        for key, (shape, dtype) in layout.items():
            start, end = end, end + prod(shape) * dtype.size
            header[key] = {
                "dtype": NAMES[dtype],
                "shape": list(shape),
                "data_offsets": [start, end],
            }
        text = json.dumps(header, separators=(",", ":")).encode("utf-8")
        text += b" " * (-len(text) % 8)  # so that the tensors begin on a multiple of 8
        self._layout = dict(layout)
        self._pending = list(reversed(self._layout))
        self._digest = digest
        self._file = Path(path).open("wb")  # noqa: SIM115  (closed by __exit__)
        self._put(len(text).to_bytes(8, "little") + text)

    def write(self, key: str, tensor: mx.array) -> int:
        """Append `tensor` and return its bytes.

        Raises:
            ValueError: the layout has another key, shape or type next.
        """
        expected = self._pending.pop() if self._pending else None
        if key != expected or (tuple(tensor.shape), tensor.dtype) != self._layout[key]:
            raise ValueError(f"{key} does not come next with this shape and type.")
        if tensor.dtype == mx.bfloat16:
            tensor = tensor.view(mx.uint16)  # NumPy has no bfloat16
        values = np.ascontiguousarray(np.asarray(tensor))
        self._put(values.reshape(-1).view(np.uint8))
        return values.nbytes

    def _put(self, data) -> None:
        self._file.write(data)
        if self._digest is not None:
            self._digest.update(data)

    def __enter__(self) -> SafetensorsWriter:
        return self

    def __exit__(self, kind, error, trace) -> None:
        self._file.close()
        if kind is None and self._pending:
            raise ValueError(f"{self._pending[-1]} was never written.")
