"""The characters that ChatTTS was trained on, and those that others are written as."""

from __future__ import annotations

import re
import unicodedata

# Chinese characters, Latin letters without accents, the space, and four marks.
VALID = r"\u4e00-\u9fffA-Za-z ，。、,."
INVALID = re.compile(f"[^{VALID}]")
CHINESE = re.compile(r"[\u4e00-\u9fff]")
_LATIN_WORD = re.compile(r"[A-Za-z]+")

_COMMA, _WIDE_COMMA, _STOP, _WIDE_STOP = ",，.。"
_TO_COMMA = ":;-()<>｢｣"
_TO_WIDE_COMMA = "：；－—―–（）＜＞《》〈〉【】「」『』〔〕〖〗"
# What marks that the model does not know are written as.
SIMPLER = str.maketrans(
    {
        **dict.fromkeys(_TO_COMMA, _COMMA),
        **dict.fromkeys(_TO_WIDE_COMMA, _WIDE_COMMA),
        "!": _STOP,
        "！": _WIDE_STOP,
    }
)
# Those that upstream deletes, and their sentence's end or pause with them.
SIMPLER_BESIDES = str.maketrans(
    {
        "?": _STOP,
        "？": _WIDE_STOP,
        "｡": _WIDE_STOP,
        "．": _STOP,
        "､": "、",
        "\u2026": _COMMA,
        "–": _COMMA,
        "—": _COMMA,
    }
)
# In Chinese the long marks are wide.
SIMPLER_IN_CHINESE = str.maketrans({"\u2026": _WIDE_COMMA, "–": _WIDE_COMMA, "—": _WIDE_COMMA})
# Marks of ASCII to those of Chinese. Brackets and underscores are parts of tokens.
_KEPT = "[]_"
FULL_WIDTH = str.maketrans(
    {
        **{
            chr(code): chr(code + 0xFEE0)
            for code in range(0x21, 0x7F)
            if not chr(code).isalnum() and chr(code) not in _KEPT
        },
        ".": "。",
        '"': "“",
        "'": "‘",
    }
)
# Signs that have words when they stand with numbers.
_SIGNS = frozenset("#$%&*+-/=@£¢¥")
_WIDE_MONEY = "￠￡￥"
_LIGATED = "ﬀﬁﬂﬃﬄﬅﬆ"
_LIGATURES = str.maketrans(
    {"ß": "ss", "ẞ": "SS", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O"}
    | {"ł": "l", "Ł": "L", "đ": "d", "Đ": "D", "ð": "d", "Ð": "D", "þ": "th", "Þ": "Th"}
    | {"ı": "i"}
)


def half_width(text: str) -> str:
    """Write letters, digits and signs of full width, and ligatures such as ﬁ, as plain ones; marks
    such as ， stay as wide as they are."""
    if text.isascii():
        return text
    return "".join(map(_half_width, text))


def _half_width(character: str) -> str:
    if not ("\uff00" < character < "\uff5f" or character in _WIDE_MONEY or character in _LIGATED):
        return character
    plain = unicodedata.normalize("NFKC", character)
    return plain if plain.isalnum() or plain in _SIGNS else character


def without_accents(text: str) -> str:
    """Write Latin letters without their accents, as the tokenizer does."""
    if text.isascii():
        return text
    text = unicodedata.normalize("NFC", text)
    return "".join(map(_without_accent, text.translate(_LIGATURES)))


def _without_accent(character: str) -> str:
    if character.isascii() or CHINESE.match(character):
        return character
    letters = unicodedata.normalize("NFD", character)
    plain = "".join(one for one in letters if unicodedata.category(one) != "Mn")
    return plain if plain.isascii() and plain.isalpha() else character


def language_of(text: str) -> str:
    """Guess the language of a text: "zh" if it has more Chinese characters than Latin words."""
    chinese, latin = len(CHINESE.findall(text)), len(_LATIN_WORD.findall(text))
    return "zh" if chinese > latin else "en"
