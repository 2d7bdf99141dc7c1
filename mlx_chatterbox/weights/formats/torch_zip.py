"""Writes what `torch.save` writes of a state dict, without PyTorch and tensor after tensor.

The file is an uncompressed zip: a pickle that names the tensors, then the bytes of each.
Format: https://pytorch.org/docs/stable/notes/serialization.html
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from math import prod
from pathlib import Path

import numpy as np

_STORAGES = {"float32": "FloatStorage", "int64": "LongStorage"}
_EPOCH = (1980, 1, 1, 0, 0, 0)  # so that the same weights are the same bytes
_FIRST_64_BIT = 2**31


def write_state_dict(
    path: str | Path,
    layout: Mapping[str, tuple[tuple[int, ...], str]],
    values: Iterable[np.ndarray],
) -> Iterator[int]:
    """Write a state dict; yields the bytes of each tensor after it is written.

    Args:
        path: written in place.
        layout: for each key its shape and type, "float32" or "int64".
        values: the tensors, in the order of the layout.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(_entry("data.pkl"), _pickled(layout))
        archive.writestr(_entry("byteorder"), b"little")
        for index, value in enumerate(values):
            with archive.open(_entry(f"data/{index}"), "w") as record:
                record.write(value.tobytes())
            yield value.nbytes
        archive.writestr(_entry("version"), b"3\n")


def write_tensor(path: str | Path, value: np.ndarray) -> None:
    """Write one tensor, float32 or int64, as `torch.save` writes it by itself."""
    parts = [pickle.PROTO, b"\x02", *_tensor(0, value.shape, str(value.dtype)), pickle.STOP]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(_entry("data.pkl"), b"".join(parts))
        archive.writestr(_entry("byteorder"), b"little")
        archive.writestr(_entry("data/0"), np.ascontiguousarray(value).tobytes())
        archive.writestr(_entry("version"), b"3\n")


def _entry(name: str) -> zipfile.ZipInfo:
    return zipfile.ZipInfo(f"archive/{name}", date_time=_EPOCH)


def write_sections(
    path: str | Path, sections: Mapping[str, Mapping[str, np.ndarray | None]]
) -> None:
    """Write a dict of dicts of tensors, or None, as upstream's `conds.pt` is."""
    tensors = [v for section in sections.values() for v in section.values() if v is not None]
    out, index = [pickle.PROTO, b"\x02", pickle.EMPTY_DICT, pickle.MARK], 0
    for name, section in sections.items():
        out += [_text(name), pickle.EMPTY_DICT, pickle.MARK]
        for key, value in section.items():
            out.append(_text(key))
            if value is None:
                out.append(pickle.NONE)
            else:
                out += _tensor(index, value.shape, str(value.dtype))
                index += 1
        out.append(pickle.SETITEMS)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(_entry("data.pkl"), b"".join([*out, pickle.SETITEMS, pickle.STOP]))
        archive.writestr(_entry("byteorder"), b"little")
        for number, value in enumerate(tensors):
            archive.writestr(_entry(f"data/{number}"), np.ascontiguousarray(value).tobytes())
        archive.writestr(_entry("version"), b"3\n")


def _pickled(layout: Mapping[str, tuple[tuple[int, ...], str]]) -> bytes:
    """An OrderedDict of tensors."""
    out = [pickle.PROTO, b"\x02", _ORDERED_DICT, pickle.MARK]
    for index, (key, (shape, dtype)) in enumerate(layout.items()):
        out += [_text(key), *_tensor(index, shape, dtype)]
    return b"".join([*out, pickle.SETITEMS, pickle.STOP])


def _tensor(index: int, shape: tuple[int, ...], dtype: str) -> list[bytes]:
    """`_rebuild_tensor_v2(storage, offset, size, stride, False, OrderedDict())`."""
    stride = [prod(shape[axis + 1 :]) for axis in range(len(shape))]
    storage = [
        *(pickle.MARK, _text("storage"), _global("torch", _STORAGES[dtype])),
        *(_text(str(index)), _text("cpu"), _number(prod(shape)), pickle.TUPLE),
        pickle.BINPERSID,
    ]
    return [
        *(_global("torch._utils", "_rebuild_tensor_v2"), pickle.MARK),
        *(*storage, _number(0), _numbers(shape), _numbers(stride)),
        *(pickle.NEWFALSE, _ORDERED_DICT, pickle.TUPLE, pickle.REDUCE),
    ]


def _global(module: str, name: str) -> bytes:
    return pickle.GLOBAL + f"{module}\n{name}\n".encode()


_ORDERED_DICT = _global("collections", "OrderedDict") + pickle.EMPTY_TUPLE + pickle.REDUCE


def _text(value: str) -> bytes:
    encoded = value.encode()
    return pickle.BINUNICODE + len(encoded).to_bytes(4, "little") + encoded


def _number(value: int) -> bytes:
    if value >= _FIRST_64_BIT:
        return pickle.LONG1 + b"\x08" + value.to_bytes(8, "little")
    return pickle.BININT + value.to_bytes(4, "little")


def _numbers(values: Iterable[int]) -> bytes:
    return pickle.MARK + b"".join(_number(value) for value in values) + pickle.TUPLE
