"""Reproducible Ogg files: the same bytes for the same sound.

libsndfile draws each stream's serial number at random, and the checksum of every page covers it.
Here it becomes 0 throughout. A CRC is linear: what another serial number does to it depends on the
page's length alone, so that the sound itself need not be read again.
"""

from __future__ import annotations

import os
import struct
from functools import lru_cache
from pathlib import Path

# After RFC 3533: "OggS", version, flags, position, serial number, page number, checksum, segments.
_HEADER = struct.Struct("<4sBBqIIIB")
_SERIAL_AT = 14
_POLYNOMIAL = 0x04C11DB7


def fix_serial_number(path: str | os.PathLike) -> None:
    """Give the one stream of an Ogg file the serial number 0, in place.

    Raises:
        ValueError: a page does not begin where it should.
        OSError: as reading and writing.
    """
    with Path(path).open("r+b") as file:
        at = 0
        while header := file.read(_HEADER.size):
            if len(header) < _HEADER.size or header[:4] != b"OggS":
                raise ValueError(f"no Ogg page at byte {at}")
            *start, serial, number, checksum, n_segments = _HEADER.unpack(header)
            segments = file.read(n_segments)
            length = _HEADER.size + n_segments + sum(segments)
            after = length - _SERIAL_AT - 4
            file.seek(at)
            file.write(_HEADER.pack(*start, 0, number, checksum ^ _crc(serial, after), n_segments))
            at += length
            file.seek(at)


@lru_cache(maxsize=4096)
def _crc(serial: int, after: int) -> int:
    """Ogg's checksum of a serial number and `after` zero bytes."""
    crc = 0
    for byte in struct.pack("<I", serial):
        crc ^= byte << 24
        for _ in range(8):
            crc = _doubled(crc)
    # x^(8 after) by squaring, multiplied without carries.
    power, factor = 1, 0x100
    while after:
        if after & 1:
            power = _product(power, factor)
        factor = _product(factor, factor)
        after >>= 1
    return _product(crc, power)


def _doubled(value: int) -> int:
    value <<= 1
    return (value ^ _POLYNOMIAL) & 0xFFFFFFFF if value >> 32 else value


def _product(a: int, b: int) -> int:
    """Multiply two polynomials over GF(2), modulo the checksum's."""
    total = 0
    while b:
        if b & 1:
            total ^= a
        a = _doubled(a)
        b >>= 1
    return total
