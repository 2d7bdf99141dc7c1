"""Scripts as far as the cutting of texts needs them: how long a character is spoken, what joins."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

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
# A reader says some 15 Latin letters a second, 5 Chinese characters, 8 kana, 6 Korean syllables;
# Arabic and Hebrew write no short vowels.
_SLOW = re.compile(f"([{HAN}])|([{KANA}])|([{_HANGUL}])|([{_UNVOWELLED}])")
_WEIGHTS = (3.0, 2.0, 2.5, 1.3)
_LEFT_OUT = re.compile("[\u00ad\u200b\u2060\ufeff\x00-\x08\x0e-\x1f\x7f]")
_BREAK = re.compile(r"[^\S\n]*\n\s*")


# Stands for a space within what is read as one ("5 March 2024") while a text is cut.
HELD = "\ue000"


class Room(int):
    """The length of a piece, where texts are measured as they will be spoken, not as they stand.

    A plain number is one, too, for whatever takes it for a number.

    Attributes:
        writing: from a text as it stands to one as it is spoken (`writing.Writing`).
    """

    def __new__(cls, longest: int, writing):
        room = super().__new__(cls, longest)
        room.writing = writing
        return room


def measured(text: str, longest: int) -> float:
    """How long a text is to speak: `spoken_length`, in a `Room` of what will be spoken."""
    if isinstance(longest, Room):
        text = longest.writing(text.replace(HELD, " "))
    return spoken_length(text)


def spoken_length(text: str) -> float:
    """How long a text is to speak, in Latin letters; its length where there are no others."""
    length = float(len(text))
    if text.isascii():
        return length
    for match in _SLOW.finditer(text):
        length += _WEIGHTS[match.lastindex - 1] - 1.0
    return length


def is_unspaced(character: str) -> bool:
    """Of a script that writes words without spaces between them."""
    return bool(_UNSPACED.match(character))


def glue(left: str, right: str) -> str:
    """What stands between two parts of a text: a space, or nothing within Chinese or Japanese."""
    if not left or not right:
        return ""
    return "" if _CLOSE_UP.match(left[-1]) and _CLOSE_UP.match(right[0]) else " "


def glued(parts: Sequence[str]) -> str:
    """Parts in one, `glue` between them."""
    if len(parts) == 1:
        return parts[0]
    out = [parts[0]]
    for left, right in pairwise(parts):
        out += [glue(left, right), right]
    return "".join(out)


def flowed(text: str) -> str:
    """One paragraph in one line: white space squeezed, none at line ends within Chinese or
    Japanese, and what is not seen (soft hyphens, control characters) left out."""
    text = _LEFT_OUT.sub("", text).replace("\r\n", "\n").replace("\r", "\n").strip()

    def joined(match: re.Match) -> str:
        return glue(text[match.start() - 1], text[match.end()])

    if "\n" in text and not text.isascii():
        text = _BREAK.sub(joined, text)
    return " ".join(text.split())
