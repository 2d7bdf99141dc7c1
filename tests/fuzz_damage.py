"""Ways to damage a sound file: functions of (random.Random, bytes) to bytes."""

from __future__ import annotations

import gzip
import json
import math
import random
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

Damage = Callable[[random.Random, bytes], bytes]

_NUMBERS = (0, -1, 1, 2, 3, 7, 255, 10**6, 10**9, 2**31 - 1, 2**31, -(2**31), 2**32, 2**63, 2**70)
_VALUES: tuple[Any, ...] = (
    *_NUMBERS, 0.5, -0.0, 1e-30, 1e308, math.nan, math.inf, -math.inf, None, True, False,
    "", "x", "0", "../x", "\x00", "\x1b[2J", "é" * 50, "x" * 5000, [], [0], [[]], ["x"], [None],
    {}, {"x": 0}, [1] * 1000,
)  # fmt: skip


# --- Bytes ---------------------------------------------------------------------------------------


def damage_bytes(rng: random.Random, content: bytes) -> bytes:
    """Bits turned, bytes replaced, parts cut out, doubled, moved, or the end cut off."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        at = rng.randrange(len(data) + 1)
        # The beginning, where headers are, more often than the rest.
        if rng.random() < 0.4:
            at = rng.randrange(min(len(data), 64) + 1)
        length = rng.choice((1, 2, 4, 8, 64, 1024))
        kind = rng.randrange(7)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1 and at < len(data):
            data[at] = rng.choice((0, 1, 127, 128, 254, 255, rng.randrange(256)))
        elif kind == 2:
            del data[at : at + length]
        elif kind == 3:
            data[at:at] = data[at : at + length]
        elif kind == 4:
            data[at:at] = rng.randbytes(length)
        elif kind == 5:
            width = rng.choice((2, 4, 8))
            value = rng.choice(_NUMBERS) % (1 << 8 * width)
            data[at : at + width] = value.to_bytes(width, rng.choice(("little", "big")))
        elif rng.random() < 0.3:
            del data[at:]
    return bytes(data)


def damage_text(rng: random.Random, content: bytes) -> bytes:
    """Lines left out, doubled, moved, joined, lengthened; special characters inserted."""
    lines = content.decode("utf-8", "replace").split("\n")
    for _ in range(rng.choice((1, 2, 5))):
        at = rng.randrange(len(lines))
        kind = rng.randrange(6)
        if kind == 0:
            del lines[at]
            lines = lines or [""]
        elif kind == 1:
            lines.insert(at, lines[rng.randrange(len(lines))])
        elif kind == 2:
            signs = rng.choice("\t,;:\"'[]{}<>&|-#!*\\\x00\x1b\r\ufeff\u2028\U0001f600 0")
            place = rng.randrange(len(lines[at]) + 1)
            lines[at] = lines[at][:place] + signs * rng.choice((1, 1, 3, 5000)) + lines[at][place:]
        elif kind == 3:
            lines[at] = lines[at][:1000] * rng.choice((0, 2, 1000))
        elif kind == 4:
            lines[at] = lines[at][: rng.randrange(len(lines[at]) + 1)]
        else:
            other = rng.randrange(len(lines))
            lines[at], lines[other] = lines[other], lines[at]
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def compressed(damage: Damage) -> Damage:
    """Damage of a gzip file's content, or of its stream; the result is still valid gzip."""

    def damage_compressed(rng: random.Random, content: bytes) -> bytes:
        try:
            inner = gzip.decompress(content)
        except (OSError, EOFError, zlib.error):
            return damage_bytes(rng, content)
        return gzip.compress(damage(rng, inner), rng.choice((0, 1, 9)), mtime=0)

    return damage_compressed


# --- JSON ----------------------------------------------------------------------------------------


def damage_json(rng: random.Random, content: bytes) -> bytes:
    """Values of other types and sizes, keys left out, added or renamed, and deep nesting."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return damage_bytes(rng, content)
    if rng.random() < 0.04:
        return rng.choice(("[", '{"a":', "[[],", "[1,")).encode() * rng.choice((100, 1000, 100_000))
    for _ in range(rng.choice((1, 1, 2, 5))):
        value = damage_value(rng, value)
    text = json.dumps(value, ensure_ascii=rng.random() < 0.5)
    if rng.random() < 0.05:
        text = "\ufeff" + text
    return text.encode("utf-8", "surrogatepass")


def damage_value(rng: random.Random, value: Any) -> Any:
    """Plain values with one place of them changed."""
    places = list(_places(value))
    if len(places) > 2000:
        places = rng.sample(places, 2000)
    if not places or rng.random() < 0.02:
        return odd_value(rng)
    holder, key = rng.choice(places)
    kind = rng.randrange(8)
    if kind == 0:
        del holder[key]
    elif kind == 1 and isinstance(holder, dict):
        holder[rng.choice(("x", "", key + "x", key.upper(), "\x1b[2J"))] = holder.pop(key)
    elif kind == 2 and isinstance(holder, list):
        holder.insert(key, odd_value(rng))
    elif kind == 3 and isinstance(holder, dict):
        holder[rng.choice(("x", "", "__class__"))] = odd_value(rng)
    elif kind == 4:
        other, there = rng.choice(places)
        if _within(other, there):
            holder[key] = json.loads(json.dumps(other[there]))
    elif kind == 5:
        holder[key] = [holder[key]] if rng.random() < 0.5 else {"x": holder[key]}
    elif kind == 6 and isinstance(holder[key], (int, float)):
        holder[key] = rng.choice((-holder[key], holder[key] * 2, holder[key] + 1, holder[key] / 3))
    else:
        holder[key] = odd_value(rng)
    return value


def odd_value(rng: random.Random) -> Any:
    """A value that is wrong in most places."""
    return json.loads(json.dumps(rng.choice(_VALUES)))


def _within(holder, key) -> bool:
    return key in holder if isinstance(holder, dict) else key < len(holder)


def _places(value: Any):
    """(container, key) of everything in plain values."""
    if not isinstance(value, (dict, list)):
        return
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], (dict, list)):
            yield from _places(value[key])


# --- Tensors -------------------------------------------------------------------------------------

_TYPES = {
    "F32": "<f4", "F16": "<f2", "F64": "<f8", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?",
}  # fmt: skip


def damage_header(rng: random.Random, content: bytes) -> bytes:
    """A safetensors header that contradicts the bytes after it."""
    size = int.from_bytes(content[:8], "little")
    header = damage_json(rng, content[8 : 8 + size])
    length = len(header) if rng.random() < 0.9 else rng.choice((0, 1, size, 2**31, 2**63))
    return length.to_bytes(8, "little") + header + content[8 + size :]


def damage_tensors(rng: random.Random, content: bytes) -> bytes:
    """Other values, shapes, types and names in a valid safetensors file."""
    try:
        tensors, metadata = tensors_of(content)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return damage_bytes(rng, content)
    for _ in range(rng.choice((1, 1, 2, 4))):
        if not tensors:
            break
        damage_tensor(rng, tensors)
    return safetensors_of(tensors, metadata)


def damage_tensor(rng: random.Random, tensors: dict[str, np.ndarray]) -> None:
    """Change one of the tensors in place."""
    key = rng.choice(list(tensors))
    value = tensors[key]
    kind = rng.randrange(10)
    if kind == 0:
        del tensors[key]
    elif kind == 1:
        tensors[rng.choice((key + "x", "x", "", "\x1b[2J", key.upper()))] = tensors.pop(key)
    elif kind == 2:
        tensors[key] = np.zeros(_odd_shape(rng, value.shape), value.dtype)
    elif kind == 3:
        with np.errstate(all="ignore"):
            tensors[key] = value.astype(rng.choice(list(_TYPES.values())))
    elif kind == 4:
        tensors[key] = value.reshape(rng.choice(((-1,), (1, *value.shape), (*value.shape, 1))))
    elif kind == 5 and value.ndim:
        axis = rng.randrange(value.ndim)
        count = rng.choice((0, 1, value.shape[axis] // 2, value.shape[axis] * 2))
        index = np.arange(count) % max(value.shape[axis], 1)
        if value.shape[axis]:
            tensors[key] = np.take(value, index, axis)
    elif kind == 6 and value.ndim:
        tensors[key] = value.swapaxes(0, -1)
    elif value.size:
        flat = value.reshape(-1).copy()
        odd = [n for n in _VALUES if isinstance(n, (int, float)) and not isinstance(n, bool)]
        for _ in range(rng.choice((1, 1, 5, flat.size))):
            with np.errstate(all="ignore"):
                flat[rng.randrange(flat.size)] = _as(flat.dtype, rng.choice(odd))
        tensors[key] = flat.reshape(value.shape)


def _as(dtype: np.dtype, number: float) -> Any:
    if dtype.kind in "iu":
        bounds = np.iinfo(dtype)
        number = 0 if number != number else min(max(number, bounds.min), bounds.max)
        return int(number)
    try:
        return dtype.type(number)
    except OverflowError:
        return dtype.type(math.inf)


def _odd_shape(rng: random.Random, shape: tuple[int, ...]) -> tuple[int, ...]:
    choices = [(), (0,), (1,), (3,), (0, 0), (1, 0), (1, 1, 1), (2, 3, 4, 5), (1,) * 30, (0, 2**20)]
    choices += [(*shape, 2), shape[1:], shape[:-1], tuple(2 * n for n in shape[:1]) + shape[1:]]
    return rng.choice(choices)


def tensors_of(content: bytes) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Tensors and metadata of a safetensors file; bfloat16 as its 16 bits."""
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    metadata = header.pop("__metadata__", {})
    tensors = {}
    for key, value in header.items():
        start, end = value["data_offsets"]
        dtype = _TYPES.get(value["dtype"], "<u2")
        data = content[8 + size + start : 8 + size + end]
        tensors[key] = np.frombuffer(data, dtype).reshape(value["shape"])
    return tensors, metadata


def safetensors_of(tensors: dict[str, np.ndarray], metadata: dict[str, str] | None = None) -> bytes:
    """A safetensors file."""
    names = {np.dtype(code): name for name, code in _TYPES.items()}
    header: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    parts, end = [], 0
    for key, value in tensors.items():
        data = np.ascontiguousarray(value).tobytes()
        offsets = [end, end + len(data)]
        end = offsets[1]
        shape = list(value.shape)
        header[key] = {"dtype": names[value.dtype], "shape": shape, "data_offsets": offsets}
        parts.append(data)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + b"".join(parts)
