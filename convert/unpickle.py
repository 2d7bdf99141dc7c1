"""Reads what `torch.save` wrote, without PyTorch and without running anything from the file.

A pickle is a program that may call any function it can name. Here it can name the handful that
rebuild tensors, each a stand-in of our own, and `OrderedDict`; any other name is refused before
anything is called. Sizes, strides and offsets are checked against the storages.
"""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from mlx_chatterbox.errors import CheckpointError

# PyTorch's typed storages: the NumPy type of the same bytes. bfloat16 becomes float32.
STORAGE_TYPES: dict[str, str] = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "BFloat16Storage": "<u2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
MAX_PICKLE_BYTES = 64 * 2**20
MAX_EXPANDED = 2**24  # elements of a tensor that is larger than its storage (stride 0)


class _Refused(Exception):
    """Something in the file that is not accepted; the text says what."""


@dataclass(frozen=True)
class _Storage:
    """Elements that tensors view."""

    values: np.ndarray
    is_bfloat16: bool


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
    path = Path(path)
    try:
        if not zipfile.is_zipfile(path):
            raise _Refused(_why_no_zip(path))
        with zipfile.ZipFile(path) as archive:
            return _Unpickler.load_archive(archive)
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
    """Builds tensors and plain containers, and nothing else."""

    def __init__(self, archive: zipfile.ZipFile, prefix: str, file):
        super().__init__(file, encoding="utf-8")
        self._archive = archive
        self._prefix = prefix
        self._storages: dict[str, _Storage] = {}

    @classmethod
    def load_archive(cls, archive: zipfile.ZipFile) -> Any:
        names = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(names) != 1 or names[0].count("/") != 1:
            raise _Refused("it is a zip file, but not one written by torch.save")
        prefix = names[0].removesuffix("data.pkl")
        order = prefix + "byteorder"
        if order in archive.namelist() and _record(archive, order, 16).read() != b"little":
            raise _Refused("its numbers are stored big-endian")
        return cls(archive, prefix, _record(archive, names[0], MAX_PICKLE_BYTES)).load()

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in STORAGE_TYPES:
            return _StorageType(name)
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) in _STAND_INS:
            return _STAND_INS[module, name]
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
            dtype = np.dtype(STORAGE_TYPES[kind.name])
            with _record(self._archive, f"{self._prefix}data/{key}") as record:
                values = np.frombuffer(record.read(), dtype=dtype)
            self._storages[key] = _Storage(values, kind.name == "BFloat16Storage")
        storage = self._storages[key]
        if storage.values.size < count:
            raise _Refused(f"storage {key} has {storage.values.size} elements, not {count}")
        return storage


def _record(archive: zipfile.ZipFile, name: str, limit: int | None = None):
    """A file of the archive, opened; torch.save never compresses, so a compressed one is none."""
    info = archive.getinfo(name)
    if info.compress_type != zipfile.ZIP_STORED or (limit and info.file_size > limit):
        raise _Refused(f"{name} inside it is compressed or too large")
    return archive.open(info)


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
) -> np.ndarray:
    """`size` elements of `storage` from `offset` on, `stride` elements apart; a copy."""
    if not isinstance(storage, _Storage) or not _is_size(offset):
        raise _Refused("its pickle describes a tensor without a storage")
    if not (isinstance(size, tuple) and isinstance(stride, tuple) and len(size) == len(stride)):
        raise _Refused("a tensor's size and stride do not fit together")
    if not all(_is_size(number) for number in size + stride) or len(size) > 32:
        raise _Refused("a tensor's size or stride is not a whole number")
    values, count = storage.values, prod(size)
    if count == 0:
        return np.zeros(size, dtype=np.float32 if storage.is_bfloat16 else values.dtype)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if last >= values.size or count > max(values.size, MAX_EXPANDED):
        raise _Refused(
            f"a tensor of size {size} reaches past its storage of {values.size} elements"
        )
    steps = tuple(step * values.itemsize for step in stride)
    view = np.lib.stride_tricks.as_strided(values[offset:], shape=size, strides=steps)
    if storage.is_bfloat16:
        return (view.astype(np.uint32) << 16).view(np.float32)
    return view.copy(order="C")


def _rebuild_parameter(data: Any, requires_grad=False, hooks=None) -> np.ndarray:
    if not isinstance(data, np.ndarray):
        raise _Refused("its pickle describes a parameter without a tensor")
    return data


def _device(*args) -> str:
    return ":".join(str(arg) for arg in args)


_STAND_INS: dict[tuple[str, str], _StandIn] = {
    ("torch._utils", "_rebuild_tensor_v2"): _StandIn(_rebuild_tensor),
    ("torch._utils", "_rebuild_parameter"): _StandIn(_rebuild_parameter),
    ("torch", "Size"): _StandIn(tuple),
    ("torch", "device"): _StandIn(_device),
}
