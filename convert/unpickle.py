"""Reads what `torch.save` wrote, without PyTorch and without running anything from the file.

A pickle is a program that may call any function it can name. Here it can name the handful that
rebuild tensors, each a stand-in of our own, and `OrderedDict`; any other name is refused before
anything is called. Sizes, strides and offsets are checked against the storages. The storages lie
uncompressed in a zip file, so that weights of gigabytes can be read one tensor at a time.
"""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlx_chatterbox.checks.git_lfs import refuse_pointer
from mlx_chatterbox.errors import CheckpointError

if TYPE_CHECKING:
    import mlx.core as mx

# PyTorch's typed storages: the NumPy type of the same bytes, and its name in safetensors files.
STORAGE_TYPES: dict[str, tuple[str, str]] = {
    "FloatStorage": ("<f4", "F32"),
    "DoubleStorage": ("<f8", "F64"),
    "HalfStorage": ("<f2", "F16"),
    "BFloat16Storage": ("<u2", "BF16"),
    "LongStorage": ("<i8", "I64"),
    "IntStorage": ("<i4", "I32"),
    "ShortStorage": ("<i2", "I16"),
    "CharStorage": ("i1", "I8"),
    "ByteStorage": ("u1", "U8"),
    "BoolStorage": ("?", "BOOL"),
}
MAX_PICKLE_BYTES = 64 * 2**20
_PIECE = 2**20
MAX_EXPANDED = 2**24  # elements of a tensor that is larger than its storage (stride 0)


class _Refused(Exception):
    """Something in the file that is not accepted; the text says what."""


class _Archive:
    """The zip file, whose last record that several tensors share is kept."""

    def __init__(self, path: Path):
        self._file = zipfile.ZipFile(path)
        names = [name for name in self._file.namelist() if name.endswith("/data.pkl")]
        if len(names) != 1 or names[0].count("/") != 1:
            raise _Refused("it is a zip file, but not one written by torch.save")
        self._prefix = names[0].removesuffix("data.pkl")
        self._last: tuple[str, np.ndarray | None] = ("", None)
        order = self._prefix + "byteorder"
        if order in self._file.namelist() and self.open("byteorder", 16).read() != b"little":
            raise _Refused("its numbers are stored big-endian")

    def size(self, name: str) -> int:
        """Bytes of a record; torch.save never compresses, so a compressed one is none."""
        info = self._file.getinfo(self._prefix + name)
        if info.compress_type != zipfile.ZIP_STORED:
            raise _Refused(f"{name} inside it is compressed")
        return info.file_size

    def open(self, name: str, limit: int):
        """A record as a file to read from, of at most `limit` bytes."""
        if self.size(name) > limit:
            raise _Refused(f"{name} inside it is too large")
        return self._file.open(self._prefix + name)

    def read(self, name: str, dtype: np.dtype) -> np.ndarray:
        """A whole record, its checksum compared."""
        if self._last[0] != name:
            self._last = ("", None)  # given back before the next one is read
            values = np.empty(self.size(name) // dtype.itemsize, dtype)
            self.read_into(name, values)
            self._last = (name, values)
        return self._last[1]

    def read_into(self, name: str, values: np.ndarray) -> None:
        """A whole record straight into its place, (n,) of its type; its checksum is compared."""
        self._last = ("", None)
        place = memoryview(values).cast("B")
        with self._file.open(self._prefix + name) as record:
            for start in range(0, len(place), _PIECE):
                piece = place[start : start + _PIECE]
                if record.readinto(piece) != len(piece):
                    raise _Refused(f"{name} is cut short")

    def close(self) -> None:
        self._last = ("", None)
        self._file.close()


class _Fixed:
    """What a pickle may hold but not change: BUILD, which sets attributes, is refused."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        raise _Refused("its pickle changes a tensor after it was made")


class _Storage(_Fixed):
    """Elements that tensors view, still in the file."""

    __slots__ = ("archive", "dtype", "kind", "name", "size")

    def __init__(self, archive: _Archive, name: str, kind: str):
        stored, self.kind = STORAGE_TYPES[kind]
        self.archive, self.name, self.dtype = archive, name, np.dtype(stored)
        self.size = archive.size(name) // self.dtype.itemsize

    def values(self) -> np.ndarray:
        return self.archive.read(self.name, self.dtype)


class StoredTensor(_Fixed):
    """A tensor in the file: `shape`, `dtype` by its name in safetensors files, and `read()`."""

    __slots__ = ("_offset", "_storage", "_stride", "shape")

    def __init__(self, storage: _Storage, offset: int, shape: tuple, stride: tuple):
        self._storage, self._offset = storage, offset
        self.shape, self._stride = shape, stride

    @property
    def dtype(self) -> str:
        return self._storage.kind

    @property
    def is_whole(self) -> bool:
        """Whether it is all of its storage, in order."""
        ordered = tuple(prod(self.shape[axis + 1 :]) for axis in range(len(self.shape)))
        sized = self._offset == 0 and prod(self.shape) == self._storage.size
        return sized and self._stride == ordered and prod(self.shape) > 0

    def read_into(self, values: np.ndarray) -> None:
        """Of a whole one, its values into (n,) of the storage's type, without another copy."""
        self._storage.archive.read_into(self._storage.name, values)

    def read(self) -> np.ndarray:
        """Its values, a copy; bfloat16 as float32."""
        bfloat16 = self.dtype == "BF16"
        if prod(self.shape) == 0:
            return np.zeros(self.shape, np.float32 if bfloat16 else self._storage.dtype)
        values = self._storage.values()
        steps = tuple(step * values.itemsize for step in self._stride)
        view = np.lib.stride_tricks.as_strided(
            values[self._offset :], shape=self.shape, strides=steps
        )
        if bfloat16:
            return (view.astype(np.uint32) << 16).view(np.float32)
        return view.copy(order="C")


class _StandIn:
    """Calls `function`; has no attributes that a pickle could set."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable):
        object.__setattr__(self, "_function", function)

    def __call__(self, *args):
        return self._function(*args)

    def __setattr__(self, name: str, value: Any) -> None:
        raise _Refused(f"its pickle sets the attribute {name!r} of a function")


@dataclass(frozen=True)
class _StorageType:
    """Stands for a typed storage's class; cannot be called."""

    name: str


def load_torch(path: str | Path) -> Any:
    """The content of a file written by `torch.save` (zip format, PyTorch 1.6 and later).

    Returns nested dicts, lists, tuples and plain values, in which every tensor is a NumPy array
    (bfloat16 as float32); parameters are their tensors, devices their names.

    Raises:
        CheckpointError: missing, damaged, of the older format, or a pickle that names anything but
            tensors and plain containers. Nothing in such a file is run.
    """
    with _opened(path) as archive:
        return _Unpickler(archive, StoredTensor.read).load()


class TorchReader:
    """The tensors of a state dict that `torch.save` wrote, read one at a time.

    Attributes:
        dtypes, shapes: of every tensor by its key, dtypes by their names in safetensors files.

    Raises:
        CheckpointError: as `load_torch`, or something other than tensors by name.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        with _opened(path, keep=True) as archive:
            content = _Unpickler(archive, lambda tensor: tensor).load()
            self._archive = archive
        if not isinstance(content, dict) or not all(
            isinstance(key, str) and isinstance(value, StoredTensor)
            for key, value in content.items()
        ):
            self.close()
            raise CheckpointError(f"{path} does not hold weights: tensors by name, nothing else.")
        self._tensors: dict[str, StoredTensor] = dict(content)
        self.shapes = {key: tensor.shape for key, tensor in self._tensors.items()}
        self.dtypes = {key: tensor.dtype for key, tensor in self._tensors.items()}

    def read(self, key: str) -> mx.array:
        """One tensor, read now; float64 as float32."""
        import mlx.core as mx

        tensor = self._tensors[key]
        if tensor.is_whole and self.dtypes[key] != "F64":
            return self._straight(tensor)
        with _errors(self.path):
            values = tensor.read()
        if self.dtypes[key] == "F64":
            values = values.astype(np.float32)
        array = mx.array(values)
        return array.astype(mx.bfloat16) if self.dtypes[key] == "BF16" else array

    def _straight(self, tensor: StoredTensor) -> mx.array:
        """Read into MLX's own memory, which NumPy sees without a copy."""
        import mlx.core as mx

        from .safetensors_file import DTYPES

        # NumPy has no bfloat16.
        kind = mx.uint16 if tensor.dtype == "BF16" else DTYPES[tensor.dtype][0]
        array = mx.zeros((prod(tensor.shape),), kind)
        mx.eval(array)
        with _errors(self.path):
            tensor.read_into(np.array(array, copy=False))
        array = array.view(mx.bfloat16) if tensor.dtype == "BF16" else array
        return array.reshape(tensor.shape)

    def close(self) -> None:
        """Let go of the file."""
        self._archive.close()


@contextmanager
def _opened(path: str | Path, keep: bool = False) -> Iterator[_Archive]:
    """The archive at `path`, closed at the end, unless it is to be kept and all went well."""
    path = Path(path)
    refuse_pointer(path)
    with _errors(path):
        if not zipfile.is_zipfile(path):
            raise _Refused(_why_no_zip(path))
        archive = _Archive(path)
        try:
            yield archive
        except BaseException:
            archive.close()
            raise
        if not keep:
            archive.close()


@contextmanager
def _errors(path: Path) -> Iterator[None]:
    """Whatever goes wrong with a file, in one line."""
    try:
        yield
    except _Refused as refusal:
        raise CheckpointError(f"{path} is not read: {refusal}.") from None
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing.") from None
    except Exception as error:
        raise CheckpointError(f"{path} is damaged ({type(error).__name__}: {error}).") from None


def _why_no_zip(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(2)
    if start == b"PK":
        return "it is truncated; fetch it again"
    if start[:1] == b"\x80":
        return "it is in PyTorch's format from before 1.6; load and save it with a newer PyTorch"
    return "it is not a file written by torch.save"


class _Unpickler(pickle.Unpickler):
    """Builds tensors and plain containers, and nothing else; `finish` has every tensor."""

    def __init__(self, archive: _Archive, finish: Callable[[StoredTensor], Any]):
        super().__init__(archive.open("data.pkl", MAX_PICKLE_BYTES), encoding="utf-8")
        self._archive = archive
        self._storages: dict[str, _Storage] = {}
        self._stand_ins = {
            ("torch._utils", "_rebuild_tensor_v2"): _StandIn(
                lambda *args: finish(_rebuild_tensor(*args))
            ),
            **_STAND_INS,
        }

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in STORAGE_TYPES:
            return _StorageType(name)
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) in self._stand_ins:
            return self._stand_ins[module, name]
        raise _Refused(
            f"its pickle asks for {module}.{name}, which is no part of a tensor; "
            "nothing of it was run"
        )

    def persistent_load(self, pid: Any) -> _Storage:
        if not (isinstance(pid, tuple) and len(pid) == 5 and pid[0] == "storage"):
            raise _Refused("its pickle refers to something that is no tensor storage")
        _, kind, key, _, count = pid
        if not (isinstance(kind, _StorageType) and isinstance(key, str) and _is_size(count)):
            raise _Refused("its pickle describes a storage that cannot be understood")
        if key not in self._storages:
            self._storages[key] = _Storage(self._archive, f"data/{key}", kind.name)
        storage = self._storages[key]
        if storage.size < count:
            raise _Refused(f"storage {key} has {storage.size} elements, not {count}")
        return storage


def _is_size(value: Any) -> bool:
    return type(value) is int and value >= 0


def _rebuild_tensor(
    storage: Any,
    offset: Any,
    size: Any,
    stride: Any,
    requires_grad=False,
    hooks=None,
    metadata=None,
) -> StoredTensor:
    """`size` elements of `storage` from `offset` on, `stride` elements apart."""
    if not isinstance(storage, _Storage) or not _is_size(offset):
        raise _Refused("its pickle describes a tensor without a storage")
    if not (isinstance(size, tuple) and isinstance(stride, tuple) and len(size) == len(stride)):
        raise _Refused("a tensor's size and stride do not fit together")
    if not all(_is_size(number) for number in size + stride) or len(size) > 32:
        raise _Refused("a tensor's size or stride is not a whole number")
    count = prod(size)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if count and (last >= storage.size or count > max(storage.size, MAX_EXPANDED)):
        raise _Refused(
            f"a tensor of size {size} reaches past its storage of {storage.size} elements"
        )
    return StoredTensor(storage, offset, size, stride)


def _rebuild_parameter(data: Any, requires_grad=False, hooks=None) -> Any:
    if not isinstance(data, (np.ndarray, StoredTensor)):
        raise _Refused("its pickle describes a parameter without a tensor")
    return data


def _device(*args) -> str:
    return ":".join(str(arg) for arg in args)


_STAND_INS: dict[tuple[str, str], _StandIn] = {
    ("torch._utils", "_rebuild_parameter"): _StandIn(_rebuild_parameter),
    ("torch", "Size"): _StandIn(tuple),
    ("torch", "device"): _StandIn(_device),
}
