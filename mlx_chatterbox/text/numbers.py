"""English numbers in words: 1234 to "one thousand two hundred thirty four"."""

from __future__ import annotations

import re

_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
).split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_GROUPS = ((10**12, "trillion"), (10**9, "billion"), (10**6, "million"), (1000, "thousand"))
_IRREGULAR = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}
# Numbers with more digits are read digit by digit.
_MOST_DIGITS = 15
_MONEY = {"$": ("dollar", "cent"), "£": ("pound", "penny"), "€": ("euro", "cent")}


def number_words(number: int) -> str:
    """A whole number, 0 to below 10^15, in words without "and"."""
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


def year_words(year: int) -> str:
    """A year between 1100 and 2099 as it is said: 1984 to "nineteen eighty four"."""
    century, rest = divmod(year, 100)
    if 2000 <= year < 2010:
        return number_words(year)
    if rest == 0:
        return f"{number_words(century)} hundred"
    if rest < 10:
        return f"{number_words(century)} oh {number_words(rest)}"
    return f"{number_words(century)} {number_words(rest)}"


def _digits(text: str) -> str:
    return " ".join(_ONES[int(digit)] for digit in text)


def _plain(text: str) -> str:
    """Digits, perhaps with a decimal point, in words."""
    whole, _, decimals = text.partition(".")
    if len(whole) > _MOST_DIGITS or (len(whole) > 1 and whole.startswith("0")):
        said = _digits(whole)
    else:
        said = number_words(int(whole or 0))
    return f"{said} point {_digits(decimals)}" if decimals else said


def _money(match: re.Match) -> str:
    unit, part = _MONEY[match.group(1)]
    whole, _, cents = match.group(2).replace(",", "").partition(".")
    said = f"{_plain(whole)} {unit}" + ("s" if int(whole) != 1 else "")
    if cents and int(cents.ljust(2, "0")[:2]):
        count = int(cents.ljust(2, "0")[:2])
        many = {"penny": "pence"}.get(part, part + "s")
        said += f" and {number_words(count)} {part if count == 1 else many}"
    return said


def _time(match: re.Match) -> str:
    hour, minute = int(match.group(1)), int(match.group(2))
    if hour > 24 or minute > 59:
        return f"{number_words(hour)} {number_words(minute)}"
    if minute == 0:
        return f"{number_words(hour)} o'clock"
    return f"{number_words(hour)} {'oh ' if minute < 10 else ''}{number_words(minute)}"


def _bare(match: re.Match) -> str:
    text = match.group(0)
    if re.fullmatch(r"1[1-9]\d\d|20\d\d", text):
        return year_words(int(text))
    return _plain(text.replace(",", ""))


def spell_numbers(text: str) -> str:
    """Replace digits by words: numbers, decimals, ordinals, money, percentages, times, years."""
    text = re.sub(r"([$£€])(\d[\d,]*(?:\.\d+)?)", _money, text)
    text = re.sub(r"\b(\d{1,2}):(\d\d)\b", _time, text)
    text = re.sub(r"\b(\d+)(?:st|nd|rd|th)\b", lambda m: ordinal_words(int(m.group(1))), text)
    text = re.sub(r"(?<=\d)\s*%", " percent", text)
    text = re.sub(r"(?<![\w.])-(?=\d)", "minus ", text)
    return re.sub(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?", _bare, text)
