"""English numbers in words: 1234 to "one thousand two hundred thirty four"."""

from __future__ import annotations

import re
import unicodedata

_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
).split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_GROUPS = tuple(
    (10 ** (3 * power), name)
    for power, name in reversed(
        list(
            enumerate(
                "thousand million billion trillion quadrillion quintillion sextillion septillion "
                "octillion nonillion decillion".split(),
                start=1,
            )
        )
    )
)
_IRREGULAR = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}
# Numbers with more digits are read digit by digit, unless separators show that they are numbers.
_MOST_DIGITS, _MOST_GROUPED = 15, 36

# A number as it is written: 1,234,567.89; 1234; .5; 1,00,000; and other languages' 1.000.000,5.
NUMBER = (
    r"(?:\d{1,3}(?:\.\d{3}){2,11}(?:,\d{1,2})?(?!\d|\.\d)|\d{1,3}(?:\.\d{3}){1,11},\d{1,2}(?!\d)"
    r"|\d{1,3}(?:,\d{3}){1,11}(?!\d)(?:\.\d{1,15})?|\d{1,2}(?:,\d\d){1,6},\d{3}(?!\d)"
    r"|\d{1,3}(?:[\u00a0\u2009\u202f]\d{3}){1,11}(?!\d)|\d{1,2}(?: 000){1,4}(?!\d)"
    r"|\d{1,15},\d{1,2}(?![\d,])|\d{1,36}(?:\.\d{1,30})?|\.\d{1,15})"
)
VULGAR = "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅐⅛⅜⅝⅞⅑⅒"
# A number with a fraction: 2½, 3 3/4, ¾, 1/2.
QUANTITY = (
    rf"(?:\d{{1,6}}\s?[{VULGAR}]|\d{{1,4}}[ -]\d{{1,2}}/\d{{1,3}}(?![\d/])|[{VULGAR}]"
    rf"|\d{{1,2}}/\d{{1,3}}(?![\d/])|{NUMBER})"
)
_FRACTION = re.compile(
    rf"(?:(\d{{1,6}})[\s-]?)?([{VULGAR}])|(?:(\d{{1,4}})[ -])?(\d{{1,2}})/(\d{{1,3}})"
)
_FOREIGN = re.compile(r"\d{1,3}(?:\.\d{3})+(?:,\d+)?|\d+,\d{1,2}")


def number_words(number: int) -> str:
    """A whole number, 0 to below 10^36, in words without "and"."""
    if number < 20:
        return _ONES[number]
    if number < 100:
        tens, ones = divmod(number, 10)
        return _TENS[tens - 2] + (f" {_ONES[ones]}" if ones else "")
    for size, name in (*_GROUPS, (100, "hundred")):
        if number >= size:
            many, rest = divmod(number, size)
            return f"{number_words(many)} {name}" + (f" {number_words(rest)}" if rest else "")
    raise AssertionError(number)


def ordinal_words(number: int) -> str:
    """A whole number as an ordinal: 22 to "twenty second"."""
    *before, last = number_words(number).split()
    if last in _IRREGULAR:
        last = _IRREGULAR[last]
    elif last.endswith("y"):
        last = last[:-1] + "ieth"
    else:
        last += "th"
    return " ".join([*before, last])


def plural_words(words: str) -> str:
    """Words with the last one in the plural: "twenty" to "twenties", "six" to "sixes"."""
    if words.endswith("y"):
        return words[:-1] + "ies"
    return words + ("es" if words.endswith("x") else "s")


def year_words(year: int) -> str:
    """A year in words: 1984 to "nineteen eighty four", 2005 to "two thousand five"."""
    century, rest = divmod(year, 100)
    if year < 1000 or (century % 10 == 0 and rest < 10):
        return number_words(year)
    if rest == 0:
        return f"{number_words(century)} hundred"
    if rest < 10:
        return f"{number_words(century)} oh {number_words(rest)}"
    return f"{number_words(century)} {number_words(rest)}"


def digit_words(text: str, zero: str = "zero") -> str:
    """The digits of a text one by one; other characters are left out."""
    return " ".join(_ONES[int(d)] if int(d) else zero for d in text if d.isdecimal())


def short_words(text: str) -> str:
    """The number of a room, a house or a flight: 101 "one oh one", 237 "two thirty seven"."""
    number = int(text)
    if text.startswith("0") or len(text) > 4:
        return digit_words(text, "oh")
    if len(text) < 3 or number % 100 == 0:
        return year_words(number) if len(text) == 4 else number_words(number)
    head, tail = divmod(number, 100)
    return f"{number_words(head)} {f'oh {_ONES[tail]}' if tail < 10 else number_words(tail)}"


def canonical(text: str) -> str:
    """A number as `NUMBER` finds it, as digits with at most a decimal point."""
    text = re.sub(r"[\s\u00a0\u2009\u202f]", "", text)
    if _FOREIGN.fullmatch(text) and not re.fullmatch(r"\d{1,3}\.\d{3}", text):
        return text.replace(".", "").replace(",", ".")
    return text.replace(",", "")


def plain_words(text: str) -> str:
    """A number as `NUMBER` finds it, in words."""
    digits = canonical(text)
    whole, _, decimals = digits.partition(".")
    most = _MOST_DIGITS if text[: len(whole)] == whole else _MOST_GROUPED
    if len(whole) > most or (len(whole) > 1 and whole.startswith("0")):
        words = digit_words(whole)
    else:
        words = number_words(int(whole or 0))
    return f"{words} point {digit_words(decimals)}" if decimals else words


def is_one(text: str) -> bool:
    """Return True for numbers whose unit is in the singular: 1, and fractions below it."""
    if (match := _FRACTION.fullmatch(text)) is not None:
        return not (match.group(1) or match.group(3))
    return canonical(text) == "1"


def fraction_words(numerator: int, denominator: int, after_whole: bool = False) -> str:
    """A fraction: 3/4 "three quarters", 1/2 "one half", after a whole number "a half"."""
    one = "a" if after_whole else "one"
    count = one if numerator == 1 else number_words(numerator)
    if denominator == 2:
        name, names = "half", "halves"
    elif denominator == 4:
        name, names = "quarter", "quarters"
    else:
        name = ordinal_words(denominator).removeprefix("one ")
        names = f"{name}s"
    if one == count == "a" and name[0] in "aeiou":
        count = "an"
    return f"{count} {name if numerator == 1 else names}"


def quantity_words(text: str) -> str:
    """A number with or without a fraction, as `QUANTITY` finds it, in words."""
    match = _FRACTION.fullmatch(text)
    if match is None:
        return plain_words(text)
    whole, sign, before, over, under = match.groups()
    if sign is not None:
        over, under = unicodedata.normalize("NFKD", sign).split("\u2044")
    whole = whole or before
    if int(under) == 0:
        return f"{number_words(int(over))} over zero"
    fraction = fraction_words(int(over), int(under), whole is not None)
    return f"{number_words(int(whole))} and {fraction}" if whole is not None else fraction
