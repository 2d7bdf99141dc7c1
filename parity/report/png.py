"""Arrays as PNG pictures, without a library for it."""

from __future__ import annotations

import base64
import struct
import zlib
from itertools import pairwise

import numpy as np

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_TRUE_COLOUR = 2

# Colours at equal distances, dark to light; both read well on white and on black, and in grey.
SOUND = ("#440154", "#414487", "#2a788e", "#22a884", "#7ad151", "#fde725")
DIFFERENCE = ("#000004", "#420a68", "#932667", "#dd513a", "#fca50a", "#fcffa4")


def encode(pixels: np.ndarray) -> bytes:
    """A PNG file.

    Args:
        pixels: (height, width, 3) uint8, the top row first.
    """
    height, width, _ = pixels.shape
    rows = np.zeros((height, 1 + 3 * width), dtype=np.uint8)  # each begins with its filter: none
    rows[:, 1:] = pixels.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, _TRUE_COLOUR, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 9)), (b"IEND", b""))
    return _SIGNATURE + b"".join(_chunk(kind, content) for kind, content in parts)


def coloured(values: np.ndarray, low: float, high: float, colours: tuple[str, ...]) -> np.ndarray:
    """(height, width) values as (height, width, 3) pixels, `low` the first colour, `high` the last.

    What is not finite is grey.
    """
    table = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in colours], dtype=float)
    place = (np.nan_to_num(values.astype(float)) - low) / ((high - low) or 1.0)
    place = np.clip(place, 0.0, 1.0) * (len(colours) - 1)
    stops = np.arange(len(colours))
    pixels = np.stack([np.interp(place, stops, table[:, c]) for c in range(3)], axis=-1)
    pixels[~np.isfinite(values)] = 128
    return np.round(pixels).astype(np.uint8)


def narrowed(values: np.ndarray, most: int, by=np.mean) -> np.ndarray:
    """(height, width) with at most `most` columns, neighbours taken together by `by`."""
    width = values.shape[1]
    if width <= most:
        return values
    edges = np.linspace(0, width, most + 1).astype(int)
    return np.stack([by(values[:, a:b], axis=1) for a, b in pairwise(edges)], axis=1)


def _chunk(kind: bytes, content: bytes) -> bytes:
    check = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)


def as_url(png: bytes) -> str:
    """Data URL of a picture, for `src` in a page."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
