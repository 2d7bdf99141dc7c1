"""The header of a safetensors file, compared with the file's length before MLX maps it.

Format: https://huggingface.co/docs/safetensors
"""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ..errors import CheckpointError
from .git_lfs import refuse_pointer
from .plain import MAX_INTEGER, named, shown

if TYPE_CHECKING:
    import mlx.core as mx

# The format allows 100 MB; the largest of our models needs 0.4.
MAX_HEADER_BYTES = 16 * 2**20
MAX_AXES = 16
# Bytes of a number, by the name of its type in the file.
ITEM_BYTES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1,
    "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1,
}  # fmt: skip


@dataclass(frozen=True)
class TensorInfo:
    """Type, shape and place of a tensor: `start` and `stop` in bytes from the file's beginning."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


def read_header(path: str | Path) -> dict[str, TensorInfo]:
    """Read the header of a file: its tensors by key, in the order of their bytes.

    Raises:
        CheckpointError: no safetensors file, cut short, of a type that cannot be read, or a Git LFS
            pointer.
    """
    path = Path(path)
    refuse_pointer(path)
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise CheckpointError(f"{path} is not a regular file.")
        with path.open("rb") as file:
            return _header(path, file, os.fstat(file.fileno()).st_size)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}.") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise CheckpointError(f"{path} is not a valid safetensors file.") from None


def load_safetensors(path: str | Path) -> dict[str, mx.array]:
    """Check a file's header, and map its tensors; each is read when it is used.

    Raises:
        CheckpointError: see `read_header`.
    """
    refuse_pointer(path)
    try:
        read_header(path)
        return lazy_tensors(path)
    except CheckpointError as error:
        raise CheckpointError(f"damaged or cut short: {error}") from None
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(f"{path} is damaged or cut short: {reason}") from None


def lazy_tensors(path: str | Path) -> dict[str, mx.array]:
    """Map the tensors of a file without any check; each is read when it is used.

    Raises:
        RuntimeError, ValueError: MLX's, where it cannot read the file.
    """
    import mlx.core as mx

    tensors = mx.load(str(path), format="safetensors")
    assert isinstance(tensors, dict)  # other formats have other contents
    return tensors


def _header(path: Path, file: BinaryIO, size: int) -> dict[str, TensorInfo]:
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or length > MAX_HEADER_BYTES:
        raise CheckpointError(f"{path} is not a safetensors file.")
    if 8 + length > size:
        raise _truncated(path, size, f"its header alone takes {8 + length}")
    header = json.loads(file.read(length).decode("utf-8"), object_pairs_hook=_without_doubles)
    metadata = header.pop("__metadata__", None) or {}  # MLX writes null where there is none
    if not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("__metadata__")
    infos = {key: _info(path, key, value, 8 + length) for key, value in header.items()}
    ordered = dict(sorted(infos.items(), key=lambda item: (item[1].start, item[1].stop)))
    end = 8 + length
    for key, info in ordered.items():
        if info.start != end:
            raise CheckpointError(f"{path}: {named(key)} does not begin where it should.")
        end = info.stop
    if end > size:
        raise _truncated(path, size, f"it should have {end}")
    if end < size:
        raise CheckpointError(f"{path} has {size - end} bytes more than its header says.")
    return ordered


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse duplicate keys, of which each reader may take another value."""
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a key stands there twice")
    return values


def _truncated(path: Path, size: int, expected: str) -> CheckpointError:
    return CheckpointError(f"{path} is truncated: it has {size} bytes, {expected}. Fetch it again.")


def _info(path: Path, key: str, value: dict, offset: int) -> TensorInfo:
    dtype, shape, (start, stop) = value["dtype"], value["shape"], value["data_offsets"]
    if len(value) > 3 or len(shape) > MAX_AXES:
        raise ValueError(key)
    if dtype not in ITEM_BYTES:
        raise CheckpointError(
            f"{path}: {named(key)} is of type {shown(dtype)}, which cannot be read."
        )
    if not all(type(n) is int and n >= 0 for n in (*shape, start, stop)):
        raise ValueError(key)
    if any(n > MAX_INTEGER for n in shape):
        raise ValueError(key)
    if stop - start != prod(shape) * ITEM_BYTES[dtype]:
        raise CheckpointError(f"{path}: {named(key)} has not as many bytes as its shape needs.")
    return TensorInfo(dtype, tuple(shape), offset + start, offset + stop)
