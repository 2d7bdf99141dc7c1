"""Upstream's cleaner of English texts for Chatterbox-Flash, its mistakes included.

It is there for exact comparison ("$5.50" becomes "five dollars, five0 cents"); texts are written
out by `text/spoken` unless it is asked for. Where upstream fails with an exception, and so has no
text to compare with, `TextError` names the place. Source: `chatterbox_flash/text_norm` of
`chatterbox-flash` 0.1.0; every step works on the result of those before it, in upstream's order.
"""

from __future__ import annotations

import re
import unicodedata

from ...errors import TextError
from ..spoken.numbers import number_words
from .figures import figures_in_words

# Short forms, whole words in any case, with one full stop after them; in upstream's order.
_SHORT = """
mrs misess, mr mister, dr doctor, st saint, jr junior, maj major, gen general, drs doctors,
rev reverend, lt lieutenant, hon honorable, sgt sergeant, capt captain, esq esquire, ltd limited,
col colonel, ft feet, abbrev abbreviation, ave avenue, abstr abstract, addr address, jan january,
feb february, mar march, apr april, jul july, aug august, sep september, sept september,
oct october, nov november, dec december, mon monday, tue tuesday, wed wednesday, thur thursday,
fri friday, sec second, min minute, mo month, yr year, cal calorie, dept department, gal gallon,
kg kilogram, km kilometer, mt mount, oz ounce, vol volume, vs versus, yd yard, e.g eg, i.e ie,
etc etc, ai a i, cms c m s, cdn c d n, ceo c e o, tts t t s
"""
_ABBREVIATIONS = [
    (re.compile(rf"\b{re.escape(short)}\b\.?", re.IGNORECASE), words)
    for short, words in (pair.split(maxsplit=1) for pair in _SHORT.strip().split(","))
]
_MARKS = [
    (re.compile(pattern, re.IGNORECASE), instead)
    for pattern, instead in (
        ("[\u2013\u2014]", "-"),
        (r"(?<=\d\s)>(?=\s\d)", "is greater than"),
        (r"(?<=\d\s)<(?=\s\d)", "is less than"),
        (r"(?<=\D)\s*-\s+(?=\D)", ", "),
        (r"(?<=\D)\s+-\s*(?=\D)", ", "),
        (r"(?<=[a-z])-(?=[a-z\d])|(?<=\d)-(?=[a-z])", " "),
        (r"(?<=\d)-(?=\d)", " - "),
    )
]
_SPACES = re.compile(r"\s+")
_TIME = re.compile(r"(\d{1,2})([.:])?\s*(\d{2})?\s*([AaPp]\.?[Mm]\.?)?")
_NO_LETTERS = re.compile("[^a-zA-Z]+")
_IN_TELEPHONE = frozenset("0123456789.+-()[] ")
_ENDS = ".!?,;"
# Digits in a row of a telephone number, and the groups that they are read in.
_GROUPS = {
    5: (2, 3),
    6: (2, 4),
    7: (3, 4),
    8: (2, 3, 3),
    9: (2, 3, 4),
    10: (3, 3, 4),
    11: (1, 3, 3, 4),
    12: (2, 3, 3, 4),
    13: (3, 3, 3, 4),
}


def en_us_cleaner(text: str) -> str:
    """Write a text out as upstream does.

    Raises:
        TextError: upstream fails on it with an exception.
    """
    text = plain_marks(text, _ABBREVIATIONS)
    text = _TIME.sub(_time_words, text)
    text = _NO_LETTERS.sub(_telephone_words, text)
    return figures_in_words(text)


def plain_marks(text: str, words: list[tuple[re.Pattern, str]] | None = None) -> str:
    """Write a text's marks as Flash saw them in training: upstream's cleaner without its words.

    Letters are those of NFKC; white space is one space; a dash between words is a comma, and a
    hyphen within one is a space.

    Args:
        words: patterns and their replacements, applied first.
    """
    text = _SPACES.sub(" ", unicodedata.normalize("NFKC", text))
    for pattern, instead in [*(words or ()), *_MARKS]:
        text = pattern.sub(instead, text)
    return text


def _time_words(match: re.Match) -> str:
    hour, mark, minute, half = match.groups()
    if half is None and (mark != ":" or minute is None):
        return match.group()
    words = _words_but_zero(int(hour))
    minutes = int(minute or 0)
    if minutes:
        words += f" {'oh ' if minutes < 10 else ''}{number_words(minutes)}"
    return words if half is None else f"{words} {half.replace('.', '').upper()}"


def _words_but_zero(number: int) -> str:
    return number_words(number) if number else ""


def _telephone_words(match: re.Match) -> str:
    """Read a stretch without letters digit by digit if it looks like a telephone number."""
    text = match.group()
    number = text.rstrip(_ENDS)
    if not _is_telephone(number):
        return text
    groups: list[str] = []
    for digits in re.findall("[0-9]+", number):
        for size in _GROUPS.get(len(digits), (len(digits),)):
            groups.append(" ".join(map(number_words, map(int, digits[:size]))))
            digits = digits[size:]
    before = " " if number.startswith(" ") else ""
    after = " " if number.endswith(" ") else ""
    return before + ", ".join(groups) + after + text[len(number) :]


def _is_telephone(text: str) -> bool:
    if not _IN_TELEPHONE.issuperset(text) or text.count(".") == 1:
        return False
    if not 6 <= sum(map(str.isdigit, text)) <= 13:
        return False
    if "+" in text or "." in text or text.count("-") != 1:
        return True
    first, second = (re.sub("[^0-9]", "", half) for half in text.split("-"))
    if not first:
        raise TextError(
            f"upstream's cleaner fails on {text.strip()!r} (IndexError): write it in another way, "
            "or take normalize=True."
        )
    return not (_is_year(first) and _is_year(second))


def _is_year(digits: str) -> bool:
    return len(digits) == 4 and digits[0] in "12"
