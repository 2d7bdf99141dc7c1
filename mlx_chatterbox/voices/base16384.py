"""base16384: bytes as characters of the basic plane, one for each 14 bits.

Bytes are a stream of bits, the highest first; each 14 bits are one character from U+4E00 on, so
that 7 bytes make 4. After r bytes more the bits end with zeros, and a last character U+3D00 + r
follows.
"""

from __future__ import annotations

from ..errors import SettingError

_FIRST, _TAIL = 0x4E00, 0x3D00
_BITS = 14
_BYTES, _CHARACTERS = 7, 4


def to_base16384(data: bytes) -> str:
    """Write bytes as a text."""
    rest = len(data) % _BYTES
    whole = data[: len(data) - rest]
    text = "".join(
        _characters(int.from_bytes(whole[i : i + _BYTES], "big"), _CHARACTERS)
        for i in range(0, len(whole), _BYTES)
    )
    if rest:
        count = _count(rest)
        value = int.from_bytes(data[-rest:], "big") << (_BITS * count - 8 * rest)
        text += _characters(value, count) + chr(_TAIL + rest)
    return text


def from_base16384(text: str, name: str = "the string") -> bytes:
    """Read bytes from a text; white space around it is ignored.

    Args:
        name: of the text, for errors.

    Raises:
        SettingError: a character that cannot be in it, or its end is missing.
    """
    text = text.strip()
    rest = 0
    if text and _TAIL < ord(text[-1]) < _TAIL + _BYTES:
        rest = ord(text[-1]) - _TAIL
        text = text[:-1]
    for place, character in enumerate(text, start=1):
        if not 0 <= ord(character) - _FIRST < 1 << _BITS:
            raise SettingError(
                f"{name} is damaged: character {place} is U+{ord(character):04X}, which cannot be "
                "in it. Copy it again, whole."
            )
    if len(text) % _CHARACTERS != (_count(rest) % _CHARACTERS) or (rest and not text):
        raise SettingError(f"{name} is cut short. Copy it again, whole.")
    last = len(text) - _count(rest)
    data = b"".join(
        _value(text[i : i + _CHARACTERS]).to_bytes(_BYTES, "big")
        for i in range(0, last, _CHARACTERS)
    )
    if rest:
        value = _value(text[last:]) >> (_BITS * _count(rest) - 8 * rest)
        data += value.to_bytes(rest, "big")
    return data


def _count(rest: int) -> int:
    """The number of characters of less than a group of bytes."""
    return -(-8 * rest // _BITS)


def _characters(value: int, count: int) -> str:
    shifts = range(_BITS * (count - 1), -1, -_BITS)
    return "".join(chr(_FIRST + (value >> shift & (1 << _BITS) - 1)) for shift in shifts)


def _value(text: str) -> int:
    value = 0
    for character in text:
        value = value << _BITS | ord(character) - _FIRST
    return value
