"""Detection of recordings that are cut short: the length in the header against the file's size.

libsndfile reads as much of a truncated WAV file (and its like) as there is and reports nothing, so
the headers are read here. Formats: the chunks of RIFF (WAV), RF64, AIFF, Wave64 and CAF; AU; NIST
SPHERE; the pages of Ogg (RFC 3533), of which the last one is marked.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import BinaryIO

# Chunks before the sound; no recorder writes a tenth of it.
_MOST_CHUNKS = 1000
# A page of Ogg: 27 bytes, and up to 255 segments of 255 bytes with a byte each for their lengths.
_LARGEST_PAGE = 27 + 255 + 255 * 255
_GUID_DATA = b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"
_LAST_PAGE = 4


def how_short(file: BinaryIO) -> str:
    """Describe what is missing at the end of a recording.

    Args:
        file: open and seekable; it is at its beginning afterwards.

    Returns:
        For instance "its header says 96000 bytes of sound, and 48000 are there"; "" if nothing is
        missing, or if the format does not store the length.
    """
    try:
        size = file.seek(0, os.SEEK_END)
        place = _place_of_sound(file, size)
        if place is None:
            file.seek(0)
            return _ogg(file, size) if file.read(4) == b"OggS" else ""
        start, claimed = place
        there = max(0, size - start)
        if claimed <= there:
            return ""
        return f"its header says {claimed} bytes of sound, and {there} are there"
    except (struct.error, OverflowError, ValueError):
        return ""  # a header that is itself cut short or damaged: libsndfile reports that
    finally:
        file.seek(0)


def _place_of_sound(file: BinaryIO, size: int) -> tuple[int, int] | None:
    """Read the header: the byte where the samples begin, and their size in bytes.

    None where the size is not stored, as by a recorder that writes into a pipe and cannot go back.
    """
    file.seek(0)
    head = file.read(12)
    mark, kind = head[:4], head[8:12]
    if mark in (b"RIFF", b"RIFX") and kind == b"WAVE":
        return _riff(file, size, "<I" if mark == b"RIFF" else ">I")
    if mark in (b"RF64", b"BW64") and kind == b"WAVE":
        return _rf64(file, size)
    if mark == b"FORM" and kind in (b"AIFF", b"AIFC"):
        chunks = _chunks(file, size, 12, ">4sI")
        return next((_known(*place) for name, *place in chunks if name == b"SSND"), None)
    if mark == b"riff":
        return _w64(file, size)
    if mark == b"caff":
        chunks = _chunks(file, size, 8, ">4sq", even=False)
        return next(
            ((start, size) for name, start, size in chunks if name == b"data" and size > 0), None
        )
    if mark in (b".snd", b"dns."):
        start, claimed = struct.unpack(">II" if mark == b".snd" else "<II", head[4:12])
        return _known(start, claimed)
    if head.startswith(b"NIST_1A"):
        return _nist(file)
    return None


def _known(start: int, claimed: int) -> tuple[int, int] | None:
    """Return both, or None for a size that stands for "not known yet": 0, the largest number, and
    those of sox and espeak-ng, near 2 GiB."""
    unknown = claimed == 0 or claimed >= 0xFFFF0000 or 0x7FFF0000 <= claimed <= 0x80000000
    return None if unknown else (start, claimed)


def _chunks(
    file: BinaryIO, size: int, at: int, layout: str, even: bool = True
) -> Iterator[tuple[bytes, int, int]]:
    """Yield each chunk from `at` on: its name, the place of its content, and the content's size."""
    head = struct.calcsize(layout)
    for _ in range(_MOST_CHUNKS):
        if at + head > size:
            return
        file.seek(at)
        name, length = struct.unpack(layout, file.read(head))
        yield name, at + head, length
        if length < 0:
            return
        at += head + length + (length & 1 if even else 0)


def _riff(file: BinaryIO, size: int, order: str) -> tuple[int, int] | None:
    for name, start, length in _chunks(file, size, 12, f"{order[0]}4sI"):
        if name == b"data":
            return _known(start, length)
    return None


def _rf64(file: BinaryIO, size: int) -> tuple[int, int] | None:
    long = None
    for name, start, length in _chunks(file, size, 12, "<4sI"):
        if name == b"ds64":
            file.seek(start + 8)
            (long,) = struct.unpack("<Q", file.read(8))
        elif name == b"data":
            if length != 0xFFFFFFFF:
                return _known(start, length)
            return None if long is None or long in (0, 2**64 - 1) else (start, long)
    return None


def _w64(file: BinaryIO, size: int) -> tuple[int, int] | None:
    at = 40  # a GUID, a size and another GUID
    for _ in range(_MOST_CHUNKS):
        if at + 24 > size:
            return None
        file.seek(at)
        guid, length = struct.unpack("<16sQ", file.read(24))  # the size of the chunk with its head
        if guid == _GUID_DATA:
            return None if length <= 24 or length >= 2**63 else (at + 24, length - 24)
        if length < 24:
            return None
        at += (length + 7) // 8 * 8
    return None


def _nist(file: BinaryIO) -> tuple[int, int] | None:
    """Read NIST SPHERE, the format of speech corpora: a header of 1,024 bytes, lines of text."""
    file.seek(0)
    lines = [line.split() for line in file.read(1024).decode("latin-1").splitlines()]
    values = {line[0]: line[2] for line in lines if len(line) == 3 and line[1] == "-i"}
    sizes = [values.get(name, "") for name in ("sample_count", "channel_count", "sample_n_bytes")]
    start = lines[1][0] if len(lines) > 1 and lines[1] else ""
    if not all(text.isdecimal() and len(text) < 12 for text in (*sizes, start)):
        return None
    count, channels, width = map(int, sizes)
    return (int(start), count * channels * width) if count else None


def _ogg(file: BinaryIO, size: int) -> str:
    """Describe what is missing at the end of an Ogg file; "" for nothing."""
    file.seek(max(0, size - _LARGEST_PAGE))
    end = file.read(_LARGEST_PAGE)
    at = end.rfind(b"OggS")
    page = end[at:] if at >= 0 else b""
    if len(page) < 27 or len(page) < 27 + page[26] + sum(page[27 : 27 + page[26]]):
        return "its last page is not all there"
    return "" if page[5] & _LAST_PAGE else "its last pages are missing"
