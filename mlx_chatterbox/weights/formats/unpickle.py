"""Reading of files that `torch.save` wrote, without PyTorch and without running code from them.

A pickle is a program that may call any function it can name. Here it can name only the few that
rebuild tensors, each replaced by a function of ours, and `OrderedDict`; any other name is refused
before anything is called, and our own interpreter (`pickle_machine.py`) runs every operation.
Sizes, strides and offsets are compared with the storages, and these with the file. The storages are
uncompressed in a zip file, so that weights of gigabytes can be read one tensor at a time.
"""

from __future__ import annotations

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
from mlx_chatterbox.checks.plain import named, shown
from mlx_chatterbox.errors import CheckpointError

from .pickle_machine import Machine, Refused, unknown_name
from .torch_archive import TorchArchive

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
MAX_PICKLE_BYTES = 16 * 2**20
# Elements of all tensors that are larger than their storages (stride 0).
MAX_EXPANDED = 2**24


class _Storage:
    """Elements that tensors view, still in the file."""

    __slots__ = ("archive", "dtype", "kind", "name", "size")

    def __init__(self, archive: TorchArchive, name: str, kind: str):
        stored, self.kind = STORAGE_TYPES[kind]
        self.archive, self.name, self.dtype = archive, name, np.dtype(stored)
        self.size = archive.size(name) // self.dtype.itemsize

    def values(self) -> np.ndarray:
        return self.archive.read(self.name, self.dtype)


class StoredTensor:
    """A tensor in the file: `shape`, `dtype` by its name in safetensors files, and `read()`."""

    __slots__ = ("_offset", "_storage", "_stride", "shape")

    def __init__(self, storage: _Storage, offset: int, shape: tuple, stride: tuple):
        self._storage, self._offset = storage, offset
        self.shape, self._stride = shape, stride

    @property
    def dtype(self) -> str:
        return self._storage.kind

    @property
    def is_expanded(self) -> bool:
        """Tell whether it has more elements than are stored."""
        return prod(self.shape) > self._storage.size

    @property
    def item_bytes(self) -> int:
        """The bytes of an element on disk."""
        return self._storage.dtype.itemsize

    @property
    def is_whole(self) -> bool:
        """Tell whether it is all of its storage, in order."""
        ordered = tuple(prod(self.shape[axis + 1 :]) for axis in range(len(self.shape)))
        sized = self._offset == 0 and prod(self.shape) == self._storage.size
        return sized and self._stride == ordered and prod(self.shape) > 0

    def read_into(self, values: np.ndarray) -> None:
        """Read the values of a whole tensor into (n,) of the storage's type, without a copy."""
        self._storage.archive.read_into(self._storage.name, values)

    def read(self) -> np.ndarray:
        """Read its values, a copy; bfloat16 as float32."""
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


@dataclass(frozen=True)
class _StandIn:
    """A function that a pickle may call, in place of PyTorch's."""

    function: Callable


@dataclass(frozen=True)
class _StorageType:
    """The class of a typed storage, which cannot be called."""

    name: str


def load_torch(path: str | Path) -> Any:
    """Load a file written by `torch.save` (zip format, PyTorch 1.6 and later).

    Returns:
        Nested dicts, lists, tuples and plain values, in which every tensor is a NumPy array
        (bfloat16 as float32); parameters are their tensors, devices their names.

    Raises:
        CheckpointError: missing, damaged, of the older format, or a pickle that names anything but
            tensors and plain containers. No code from such a file is run.
    """
    with _opened(path) as archive:
        left = archive.bytes + MAX_EXPANDED * 4

        def read(tensor: StoredTensor) -> np.ndarray:
            """Read a tensor, unless all together take more memory than the file on disk; expanded
            ones have a limit of their own."""
            nonlocal left
            left -= prod(tensor.shape) * tensor.item_bytes
            if left < 0:
                raise Refused("its tensors take more memory than the file on disk")
            return tensor.read()

        return _Unpickler(archive, read).load()


class TorchReader:
    """A state dict that `torch.save` wrote, whose tensors are read one at a time.

    Attributes:
        dtypes, shapes: of every tensor by its key; dtypes by their names in safetensors files.

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
        """Read one tensor; float64 as float32.

        Raises:
            CheckpointError: it is damaged.
        """
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
        """Close the file."""
        self._archive.close()


@contextmanager
def _opened(path: str | Path, keep: bool = False) -> Iterator[TorchArchive]:
    """Open the archive at `path`, and close it at the end, except with `keep` and no error."""
    path = Path(path)
    refuse_pointer(path)
    with _errors(path):
        if not zipfile.is_zipfile(path):
            raise Refused(_why_no_zip(path))
        archive = TorchArchive(path)
        try:
            yield archive
        except BaseException:
            archive.close()
            raise
        if not keep:
            archive.close()


@contextmanager
def _errors(path: Path) -> Iterator[None]:
    """Turn any exception about a file into a CheckpointError of one line."""
    try:
        yield
    except Refused as refusal:
        raise CheckpointError(f"{path} is not read: {refusal}.") from None
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing.") from None
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise CheckpointError(f"{path} is damaged ({reason}).") from None


def _why_no_zip(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(2)
    if start == b"PK":
        return "it is truncated; fetch it again"
    if start[:1] == b"\x80":
        return "it is in PyTorch's format from before 1.6; load and save it with a newer PyTorch"
    return "it is not a file written by torch.save"


class _Unpickler:
    """An unpickler of tensors and plain containers, and of nothing else.

    Args:
        finish: makes of every tensor the value that takes its place.
    """

    def __init__(self, archive: TorchArchive, finish: Callable[[StoredTensor], Any]):
        self._archive, self._finish = archive, finish
        self._storages: dict[str, _Storage] = {}
        self._expanded = 0
        self._stand_ins = {
            ("torch._utils", "_rebuild_tensor_v2"): _StandIn(self._tensor),
            **_STAND_INS,
        }

    def load(self) -> Any:
        """Run the archive's pickle and return its value."""
        with self._archive.open("data.pkl", MAX_PICKLE_BYTES) as record:
            content = record.read()
        return Machine(self._find, self._call, self._storage).run(content)

    def _find(self, module: Any, name: Any) -> Any:
        if not (isinstance(module, str) and isinstance(name, str)):
            raise Refused("its pickle asks for something without a name")
        if module == "torch" and name in STORAGE_TYPES:
            return _StorageType(name)
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) in self._stand_ins:
            return self._stand_ins[module, name]
        raise unknown_name(module, name)

    def _call(self, function: Any, arguments: tuple) -> Any:
        if not isinstance(function, _StandIn):
            raise Refused("its pickle calls what is not a function")
        return function.function(*arguments)

    def _tensor(self, *arguments) -> Any:
        tensor = _rebuild_tensor(*arguments)
        if tensor.is_expanded:
            self._expanded += prod(tensor.shape)
            if self._expanded > MAX_EXPANDED:
                raise Refused(
                    f"its tensors have more than {MAX_EXPANDED} elements that are repeated, not "
                    "stored"
                )
        return self._finish(tensor)

    def _storage(self, pid: Any) -> _Storage:
        if not (isinstance(pid, tuple) and len(pid) == 5 and pid[0] == "storage"):
            raise Refused("its pickle refers to something that is not a tensor storage")
        _, kind, key, _, count = pid
        if not (isinstance(kind, _StorageType) and isinstance(key, str) and _is_size(count)):
            raise Refused("its pickle describes a storage that cannot be understood")
        # The same bytes may be used as numbers of two types.
        storage = self._storages.get(key)
        if storage is None or storage.kind != STORAGE_TYPES[kind.name][1]:
            storage = self._storages[key] = _Storage(self._archive, f"data/{key}", kind.name)
        if storage.size < count:
            raise Refused(f"storage {named(key)} has {storage.size} elements, not {count}")
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
    """Make a tensor of `size` elements of `storage` from `offset` on, `stride` elements apart."""
    if not isinstance(storage, _Storage) or not _is_size(offset):
        raise Refused("its pickle describes a tensor without a storage")
    if not (isinstance(size, tuple) and isinstance(stride, tuple) and len(size) == len(stride)):
        raise Refused("a tensor's size and stride do not fit together")
    if not all(_is_size(number) for number in size + stride) or len(size) > 32:
        raise Refused("a tensor's size or stride is not a whole number")
    count = prod(size)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if count and (last >= storage.size or count > max(storage.size, MAX_EXPANDED)):
        raise Refused(
            f"a tensor of size {shown(size)} reaches past its storage of {storage.size} elements"
        )
    return StoredTensor(storage, offset, size, stride)


def _rebuild_parameter(data: Any, requires_grad=False, hooks=None) -> Any:
    if not isinstance(data, (np.ndarray, StoredTensor)):
        raise Refused("its pickle describes a parameter without a tensor")
    return data


def _device(kind: Any, index: Any = None) -> str:
    if not isinstance(kind, str) or not (index is None or _is_size(index)):
        raise Refused("its pickle describes a device without a name")
    return kind if index is None else f"{kind}:{index}"


def _size(sizes: Any = ()) -> tuple[int, ...]:
    if not (isinstance(sizes, (tuple, list)) and all(map(_is_size, sizes))):
        raise Refused("its pickle describes a size that is not whole numbers")
    return tuple(sizes)


_STAND_INS: dict[tuple[str, str], _StandIn] = {
    ("torch._utils", "_rebuild_parameter"): _StandIn(_rebuild_parameter),
    ("torch", "Size"): _StandIn(_size),
    ("torch", "device"): _StandIn(_device),
}
