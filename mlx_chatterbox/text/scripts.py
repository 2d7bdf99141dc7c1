"""Scripts as far as the cutting of texts needs them: how long a character is spoken, what joins."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Protocol

HAN = "\u3005\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
KANA = "\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9f"
_HANGUL = "\uac00-\ud7a3"
_UNVOWELLED = "\u05d0-\u05ea\u0620-\u064a\u066e-\u06d3"
# Thai, Lao, Burmese, Khmer: no spaces between words either.
_SOUTH_EAST = "\u0e01-\u0e5b\u0e81-\u0edf\u1000-\u109f\u1780-\u17ff"
_CJK_MARKS = "\u3001-\u3003\u3008-\u301f\uff01-\uff0f\uff1a-\uff1f\uff3b-\uff3d\uff5b-\uff65"
UNSPACED = f"[{HAN}{KANA}{_SOUTH_EAST}]"
_UNSPACED = re.compile(UNSPACED)
_CLOSE_UP = re.compile(f"[{HAN}{KANA}{_CJK_MARKS}]")
# A reader speaks some 15 Latin letters a second, 5 Chinese characters, 8 kana, 6 Korean syllables;
# Arabic and Hebrew write no short vowels.
_SLOW = re.compile(f"([{HAN}])|([{KANA}])|([{_HANGUL}])|([{_UNVOWELLED}])")
_WEIGHTS = (3.0, 2.0, 2.5, 1.3)
_LEFT_OUT = re.compile("[\u00ad\u200b\u2060\ufeff\x00-\x08\x0e-\x1f\x7f]")
_BREAK = re.compile(r"[^\S\n]*\n\s*")


# Replaces the spaces within an expression ("5 March 2024") while a text is cut.
HELD = "\ue000"


class TextForm(Protocol):
    """The part of `writing.Writing` that measuring and cutting a text need."""

    def __call__(self, text: str) -> str:
        """Write a text out as it is spoken."""

    def held(self, text: str) -> str:
        """Put `HELD` for each space that no cut may fall on."""


class SpokenLimit(int):
    """The longest that a piece may be, counted in the text as it will be spoken, not as written.

    It is an int, so whatever compares lengths takes it like a plain limit.

    Attributes:
        writing: writes a text out as it is spoken (`writing.Writing`).
    """

    writing: TextForm

    def __new__(cls, longest: int, writing: TextForm) -> SpokenLimit:
        limit = super().__new__(cls, longest)
        limit.writing = writing
        return limit


def measured(text: str, longest: int) -> float:
    """The `spoken_length` of a text; under a `SpokenLimit`, of the text as it will be spoken."""
    if isinstance(longest, SpokenLimit):
        text = longest.writing(text.replace(HELD, " "))
    return spoken_length(text)


def spoken_length(text: str) -> float:
    """The time a text takes to speak, counted in Latin letters: for Latin text, its length."""
    length = float(len(text))
    if text.isascii():
        return length
    for match in _SLOW.finditer(text):
        assert match.lastindex is not None  # each alternative is a group
        length += _WEIGHTS[match.lastindex - 1] - 1.0
    return length


def is_unspaced(character: str) -> bool:
    """Return True for a character of a script that writes no spaces between words."""
    return bool(_UNSPACED.match(character))


def glue(left: str, right: str) -> str:
    """The separator of two parts of a text: a space, or nothing within Chinese or Japanese."""
    if not left or not right:
        return ""
    return "" if _CLOSE_UP.match(left[-1]) and _CLOSE_UP.match(right[0]) else " "


def glued(parts: Sequence[str]) -> str:
    """Join parts, with `glue` between them."""
    if len(parts) == 1:
        return parts[0]
    out = [parts[0]]
    for left, right in pairwise(parts):
        out += [glue(left, right), right]
    return "".join(out)


def flowed(text: str) -> str:
    """Put a paragraph on one line: white space is squeezed, line ends within Chinese or Japanese
    vanish, and invisible characters (soft hyphens, control characters) are left out."""
    text = _LEFT_OUT.sub("", text).replace("\r\n", "\n").replace("\r", "\n").strip()

    def joined(match: re.Match) -> str:
        return glue(text[match.start() - 1], text[match.end()])

    if "\n" in text and not text.isascii():
        text = _BREAK.sub(joined, text)
    return " ".join(text.split())
