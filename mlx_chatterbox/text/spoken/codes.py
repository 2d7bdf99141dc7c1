"""Letters and digits in one word: H2O, A4, MP3, 4K, COVID-19, F-16, AB12CD."""

from __future__ import annotations

import re

from .numbers import digit_words, number_words, ordinal_words, plural_words, short_words
from .reader import DIGIT, LETTER, ReadingRule, word_before

_CODE = re.compile(
    r"(?P<word>[A-Za-z]{1,12}(?:-?\d{1,12}[A-Za-z]{0,4}){1,6}(?:-\d{1,4}[A-Za-z]?){0,3}(?:(?<=\d)\.\d{1,3}(?!\d|\.\d))?)(?P<rest>['’]s)?(?P<hyphen>-(?=[A-Za-z]))?(?![^\W_])"
)
_DIGITS_FIRST = re.compile(
    r"(?P<word>\d{1,12}(?:-?[A-Za-z]{1,4}(?:\d{1,12})?){1,6})(?P<rest>['’]s)?(?P<hyphen>-(?=[A-Za-z]))?(?![^\W_])"
)
_PART = re.compile(r"[A-Za-z]+|\d+(?:\.\d+)?")
_FORMULA = re.compile(
    r"(?P<word>(?:H|He|Li|Be|B|C|N|O|F|Na|Mg|Al|Si|P|S|Cl|K|Ca|Ti|Cr|Mn|Fe|Ni|Cu|Zn|Br|Ag|Sn|I|Au|Hg"
    r"|Pb|U|\d|[₀-₉]){2,20})(?![^\W_])"
)
# Ions: Na+, Cl-, Ca2+.
_ION = re.compile(
    r"(?P<word>Na|Li|Ca|Mg|Cl|OH|Br|Fe|Cu|Zn)(?P<many>[2-4²³])?(?P<sign>[+⁺\-−⁻])(?=[\s,.;:)]|$)"
)
_LANGUAGES = {
    "C++": "C plus plus",
    "C#": "C sharp",
    "F#": "F sharp",
    "G++": "G plus plus",
    "A+": "A plus",
    "B+": "B plus",
    "C+": "C plus",
    "A-": "A minus",
    "Disney+": "Disney plus",
    "Google+": "Google plus",
    "Notepad++": "Notepad plus plus",
}
_LANGUAGE = re.compile(r"(?P<word>(?:C|G|Notepad)\+\+|[CF]#|(?:[A-D]|Disney|Google)\+)(?![\w+])")
_GRADE = re.compile(r"(?P<grade>[A-D])[-−–](?=[.,;:!?)]|$| (?:in|on|and|or|for)\b)")
_NET = re.compile(r"\.(?P<word>NET|[a-z]{2,5})(?![\w.])")
_ORDINALS = re.compile(r"\b(\d{1,3})(?:st|nd|rd|th)\b")


def ordinals_in(text: str) -> str:
    """Words with their ordinals written out: "5th Avenue"."""
    return _ORDINALS.sub(lambda match: ordinal_words(int(match.group(1))).title(), text)


def _number(digits: str, alone: bool) -> str:
    """Digits within a code, with decimals or without."""
    digits, _, decimals = digits.partition(".")
    if decimals:
        return f"{number_words(int(digits))} point {digit_words(decimals)}"
    if len(digits) > 1 and digits.startswith("0"):
        return digit_words(digits)
    if len(digits) < 3:
        return number_words(int(digits))
    if len(digits) > 4:
        return digit_words(digits)
    return short_words(digits) if alone else digit_words(digits)


def _letters(text: str, whole: str) -> str:
    """Letters within a code: a word if they look like one."""
    if text.isupper() or len(text) == 1:
        is_word = len(text) > 4 or (
            len(text) == 4
            and text[0] not in "AEIOU"
            and text[1] in "AEIOU"
            and text[2] not in "AEIOU"
        )
        return text if is_word and whole.count(text) == 1 and text != "RFID" else " ".join(text)
    if len(text) < 3 and not (len(text) == 2 and text[0].isupper() and text[1] in "aeiou"):
        return " ".join(text.upper())
    return text


def code_words(word: str) -> str:
    """A code, part by part."""
    parts = _PART.findall(word)
    alone = sum(part[0].isdigit() for part in parts) == 1
    return " ".join(
        _number(part, alone) if part[0].isdigit() else _letters(part, word) for part in parts
    )


def _code(match: re.Match) -> str | None:
    if re.match(r"[a-z]+-\d", match.group("word")):
        return None  # mid-1990s, covid-19
    if (offset := re.fullmatch(r"(UTC|GMT)-(\d{1,2})", match.group("word"))) is not None:
        return f"{' '.join(offset.group(1))} minus {number_words(int(offset.group(2)))}"
    rest = (match.group("rest") or "").replace("’", "'")
    if re.search(r"[A-Za-z]-?\d{1,4}s$", match.group("word")):  # B-17s
        return plural_words(code_words(match.group("word")[:-1])) + rest
    return code_words(match.group("word")) + rest + (" " if match.group("hyphen") else "")


def _digits_first(match: re.Match) -> str | None:
    word = match.group("word")
    if re.fullmatch(r"\d+-[A-Za-z]+", word):
        return None
    if (plural := re.fullmatch(r"(\d{1,4})s", word)) is not None:
        return plural_words(short_words(plural.group(1)))
    return _code(match)


def _formula(match: re.Match) -> str | None:
    word = match.group("word")
    if not any(c.isdigit() or "₀" <= c <= "₉" for c in word) or not word[0].isalpha():
        return None
    digits = word.translate({0x2080 + n: str(n) for n in range(10)})
    words = []
    for part in _PART.findall(digits):
        words.append(number_words(int(part)) if part.isdigit() else " ".join(part.upper()))
    return " ".join(words)


def _grade(match: re.Match) -> str | None:
    is_grade = word_before(match.string, match.start()).lower() in ("a", "an", "got", "from", "to")
    return f"{match.group('grade')} minus" if is_grade else None


def _ion(match: re.Match) -> str:
    many = match.group("many") or ""
    many = number_words(int({"²": 2, "³": 3}.get(many, many))) if many else ""
    sign = "plus" if match.group("sign") in "+⁺" else "minus"
    return " ".join(filter(None, [" ".join(match.group("word").upper()), many, sign]))


def _net(match: re.Match) -> str | None:
    before = match.string[match.start() - 1 : match.start()]
    if before and not before.isspace() and before not in "(\"'":
        return None
    word = match.group("word")
    return "dot net" if word == "NET" else f"dot {_letters(word, word)}"


_DIGITS = frozenset("0123456789₀₁₂₃₄₅₆₇₈₉")
_SUFFIXED = re.compile(r"(?P<number>\d{1,3})(?P<suffix>ers?|ish)(?![^\W_])")


def _suffixed(match: re.Match) -> str:
    """Read a number with a suffix: the 49ers, 50ish."""
    words, suffix = number_words(int(match.group("number"))), match.group("suffix")
    return words.removesuffix("e") + suffix if suffix[0] == "e" else words + suffix


RULES = (
    ReadingRule(DIGIT, _SUFFIXED, _suffixed),
    ReadingRule(LETTER, _LANGUAGE, lambda match: _LANGUAGES[match.group("word")]),
    ReadingRule("ABCD", _GRADE, _grade),
    ReadingRule(LETTER, _ION, _ion, frozenset("+⁺-−⁻")),
    ReadingRule(LETTER, _FORMULA, _formula, _DIGITS),
    ReadingRule(LETTER, _CODE, _code, _DIGITS),
    ReadingRule(DIGIT, _DIGITS_FIRST, _digits_first),
    ReadingRule(".", _NET, _net),
)
