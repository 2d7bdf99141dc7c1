"""NumPy's files of arrays (.npy, .npz), compared with the file's length before NumPy reads them.

No pickle is read: a type that holds Python objects is an error.
Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

from __future__ import annotations

import io
import os
import re
import struct
import zipfile
from math import prod
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..checks.json_file import read_small
from ..checks.plain import MAX_INTEGER, named
from ..checks.tensors import Shape, check_shape
from ..errors import DataError
from ..harmless import one_line, shortened
from .own_files import open_regular

_MAGIC = b"\x93NUMPY"
MAX_HEADER_BYTES = 10_000
MAX_ARCHIVE_BYTES, MAX_ARRAYS = 64 * 2**20, 10_000
# The header as NumPy writes it for plain numbers: a Python literal, matched instead of evaluated.
_HEADER = re.compile(
    rb"\{'descr': '([<>|=]?[a-z]\d)', 'fortran_order': (False|True), "
    rb"'shape': \((\d{0,20}(?:, ?\d{1,20})*),?\),? *\} *\n?"
)


def mapped_array(path: str | Path, dtype: str, shape: Shape) -> np.ndarray:
    """Map the array of an .npy file, which is read from the disk as it is used.

    Args:
        dtype: the only one that is accepted ("float16").
        shape: a length for each axis, None for any from 1.

    Raises:
        DataError: the file is missing, no regular file, no array, cut short, or of another type or
            shape.
    """
    path = Path(path)
    try:
        with open_regular(path) as file:
            header, start = _header(file, os.fstat(file.fileno()).st_size)
            _check(header, dtype, shape, str(path))
            return np.memmap(file, header.dtype, "r", start, header.shape)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from None
    except ValueError as error:
        raise DataError(f"{path} is not an array of NumPy: {error}.") from None


def read_arrays(path: str | Path, dtype: str, shape: Shape) -> dict[str, np.ndarray]:
    """Read the arrays of an .npz file by name, all of one type.

    Args:
        dtype, shape: of each of them, as `mapped_array`.

    Raises:
        DataError: the file is missing, too large, compressed, damaged, or has other contents.
    """
    path = Path(path)
    try:
        content = read_small(path, MAX_ARCHIVE_BYTES)
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
            if len(members) > MAX_ARRAYS:
                raise ValueError(f"it has more than {MAX_ARRAYS} members")
            if any(one.compress_type != zipfile.ZIP_STORED for one in members):
                raise ValueError("it is compressed")
            # Members that overlap would be read as often as they are named.
            if sum(one.file_size for one in members) > len(content):
                raise ValueError("its members are larger than the file")
            if len({one.filename for one in members}) < len(members):
                raise ValueError("it has a name twice")
            return {
                one.filename.removesuffix(".npy"): _array(archive, one, dtype, shape, path)
                for one in members
            }
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from None
    except (ValueError, zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        # It may quote a name of 64 kB.
        why = shortened(one_line(error)).rstrip(".")
        raise DataError(f"{path} is not an archive of arrays: {why}.") from None
    except struct.error:
        raise DataError(f"{path} is not an archive of arrays: its table is damaged.") from None


def _array(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, dtype: str, shape: Shape, path: Path
) -> np.ndarray:
    content = archive.read(member)
    header, start = _header(io.BytesIO(content), len(content))
    _check(header, dtype, shape, f"{path}: {named(member.filename)}")
    return np.frombuffer(content, header.dtype, offset=start).reshape(header.shape)


class _ArrayHeader:
    """The type and shape that an array's header states."""

    def __init__(self, dtype: np.dtype, shape: tuple[int, ...]):
        self.dtype, self.shape, self.ndim = dtype, shape, len(shape)


def _header(file: BinaryIO, size: int) -> tuple[_ArrayHeader, int]:
    """Read type and shape of an array, and the place where its numbers begin.

    Raises:
        ValueError: the header is no such header, or does not match the size of the file.
    """
    start = file.read(8)
    if start[:6] != _MAGIC or len(start) < 8 or start[6] not in (1, 2, 3):
        raise ValueError("it does not begin as one")
    width = 2 if start[6] == 1 else 4
    length = int.from_bytes(file.read(width), "little")
    if length > MAX_HEADER_BYTES:
        raise ValueError("its header is too long")
    match = _HEADER.fullmatch(file.read(length))
    if match is None:
        raise ValueError("its header names no plain numbers")
    if match[2] == b"True":
        raise ValueError("its axes are in another order")
    shape = tuple(int(n) for n in match[3].split(b",") if n.strip())
    if len(shape) > 16 or any(n > MAX_INTEGER for n in shape):
        raise ValueError("its shape is too large")
    try:
        dtype = np.dtype(match[1].decode())
    except TypeError:
        raise ValueError("its header names no plain numbers") from None
    start_of_numbers = 8 + width + length
    if size - start_of_numbers != prod(shape) * dtype.itemsize:
        raise ValueError(f"its shape {shape} needs another number of bytes than are there")
    return _ArrayHeader(dtype, shape), start_of_numbers


def _check(header: _ArrayHeader, dtype: str, shape: Shape, name: str) -> None:
    if header.dtype != np.dtype(dtype):
        raise DataError(f"{name} holds {header.dtype}, not {dtype}.")
    check_shape(header, shape, name, DataError)
