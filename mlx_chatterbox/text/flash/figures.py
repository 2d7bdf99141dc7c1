"""Figures in words, as upstream's cleaner for Chatterbox-Flash writes them (`cleaner.py`).

Years and thousands are found anywhere; then the text is a list of words and of the white space
between them, and each step looks for its pattern in the whole text but replaces only words that
equal a match: "(£5)" has the match "(£5" and stays, in "5th." the ordinal is missed and the figure
is written out later. Patterns find what upstream's find, in time that does not grow with the square
of a long row of digits.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable

from ...errors import TextError
from ..spoken.numbers import number_words

_END = "[.,?!]"
_ROW = re.compile("[0-9.]+")
_ROW_WITH_COMMAS = re.compile("[0-9.,]+")
_THOUSANDS = re.compile(r"(?:\(?[A-Z]{2,3}|(?<![$|£¥€#(]))([$|£¥€#(]*[0-9][0-9,.]+[0-9])(\S+)?")
_YEAR = re.compile(
    r"(to|years?|from|after|before|by|until|in|since|around|circa|during)\s?"
    r"(?<![$£¥€₩₹₽฿₫₦₪₱₴])(1[1-9]|20)([0-9]{2})($|-|\s-|\D)",
    re.IGNORECASE,
)
_LARGE_SUM = re.compile(
    r"(\(?[$£¥€])([0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:([BKMT])|\s([BMbmTtr]+illion))([.,?!)]+)?"
)
_DOLLARS = re.compile(r"(\(?\$)([0-9,]*\.?[0-9]+)([.|,?!)]+)?")
# The number before a percent sign, read backwards.
_PERCENTAGE = re.compile(r"([0-9]+\.)?(?:[0-9]{3},)*[0-9]{1,3}")
_HASH = re.compile(rf"(#)([0-9]+(?:\.[0-9]+)?)({_END})?")
_DECIMAL = re.compile(rf"(number\s)?(?<![0-9])([0-9]+\.[0-9]+)({_END})?")
_ORDINAL = re.compile("(?<![0-9])([0-9]+)(st|nd|rd|th)")
_NUMBER = re.compile(rf"([0-9]+)({_END})?")
_DIGITS = re.compile(r"\d+")
_SPACE = re.compile(r"(\s+)")

_CURRENCIES = {"$": "dollars", "£": "pounds", "¥": "yen", "€": "euros"}
_LETTERS = {"B": "billion", "K": "thousand", "M": "million", "T": "trillion"}
_OTHER_CURRENCIES = [
    (re.compile(rf"(\(?{sign})({value})({_END})?"), one, many)
    for sign, value, one, many in (
        ("£", "[0-9.]*[0-9]", "pound", "pounds"),
        ("¥", "[0-9]+", "yen", "yen"),
        ("€", "[0-9.]*[0-9]", "euro", "euros"),
    )
]
_UNITS = [
    (re.compile(rf"(?:{sign})({_END})?"), one, many)
    for sign, one, many in (
        ("ml", "milliliter", "milliliters"),
        ("cl", "centiliter", "centiliters"),
        ("g", "gram", "grams"),
        ("kg", "kilogram", "kilograms"),
        ("mm", "millimeter", "millimeters"),
        ("cm", "centimeter", "centimeters"),
        ("km", "kilometer", "kilometers"),
        ("in", "inch", "inches"),
        ("ft", "foot", "feet"),
        ("l", "liter", "liters"),
        ("m", "meter", "meters"),
        ("yds?", "yard", "yards"),
        ("s[ecs]*", "second", "seconds"),
    )
]
_ORDINALS = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
    "ty": "tieth",
}
# Numbers with more digits stay.
_MOST_DIGITS = 18

Words = list[str]


def figures_in_words(text: str) -> str:
    """Write out all figures of a text.

    Raises:
        TextError: upstream fails on a sum of money.
    """
    text = _THOUSANDS.sub(lambda match: match[1].replace(",", "") + (match[2] or ""), text)
    for _ in range(2):  # "from 1990-2000": the second year follows a "to" of the first pass
        text = _YEAR.sub(_year_words, text)
    words = _large_sums(_SPACE.split(text))
    for pattern, one, many in _OTHER_CURRENCIES:
        words = _replaced(words, pattern, lambda *groups, forms=(one, many): _sum(*groups, *forms))
    for pattern, one, many in _UNITS:
        words = _quantities(words, pattern, one, many)
    words = _percentages(words)
    words = _replaced(words, _DOLLARS, _dollars)
    words = _replaced(words, _HASH, lambda _, number, end: f"number {number}{end}")
    words = _replaced(words, _DECIMAL, _decimal)
    words = _replaced(words, _ORDINAL, _ordinal)
    return "".join(_plain_numbers(words))


def _replaced(words: Words, pattern: re.Pattern, say: Callable[..., str]) -> Words:
    """Replace the words that equal a match, all its groups together, by what `say` makes of it."""
    changes: dict[str, str] = {}
    for groups in pattern.findall("".join(words)):
        changes.setdefault("".join(groups), say(*groups))
    return [changes.get(word, word) for word in words]


# --- Years ---------------------------------------------------------------------------------------


def _year_words(match: re.Match) -> str:
    before, century, rest, after = match.groups()
    if int(rest) >= 10:
        year = f"{number_words(int(century))} {number_words(int(rest))}"
    else:
        year = f"20{rest}" if century == "20" else f"{century} oh {rest[-1]}"
    return f"{before} {year}{' to' if '-' in after else after}"


# --- Money ---------------------------------------------------------------------------------------


def _large_sums(words: Words) -> Words:
    """Write out "$5B", and "$3 billion", which is three items of the list."""
    changes: dict[str, str] = {}
    for sign, value, letter, name, end in _LARGE_SUM.findall("".join(words)):
        whole, point, decimals = value.partition(".")
        amount = f"{whole} point {' '.join(decimals)}" if point else whole
        written = f"{sign}{value}{letter}{f' {name}' if name else ''}{end}"
        unit, currency = _LETTERS.get(letter, name), _CURRENCIES[sign.lstrip("(")]
        changes.setdefault(written, f"{amount} {unit} {currency}{end}")
    result: Words = []
    place = 0
    while place < len(words):
        three = "".join(words[place : place + 3])
        if words[place] in changes:
            result.append(changes[words[place]])
            place += 1
        elif three in changes:
            result.append(changes[three])
            place += 3
        else:
            result.append(words[place])
            place += 1
    return result


def _sum(sign: str, value: str, end: str, one: str, many: str) -> str:
    """Write out a sum that is not of dollars; upstream drops the mark after it."""
    whole, *decimals = value.split(".")
    currency = one if _whole(whole, f"{sign}{value}{end}") == 1 else many
    return " ".join([whole, currency, *decimals[:1]])


def _dollars(sign: str, value: str, end: str) -> str:
    whole, _, decimals = value.partition(".")
    dollars = _whole(whole, f"{sign}{value}{end}") if whole else 0
    cents = _whole(decimals, value) if decimals else 0
    parts = [f"{dollars} dollar{'' if dollars == 1 else 's'}"] if dollars else []
    parts += [f"{cents} cent{'' if cents == 1 else 's'}"] if cents else []
    return (", ".join(parts) or "zero dollars") + end


def _whole(digits: str, written: str) -> int:
    """Read a whole number of a sum of money.

    Raises:
        TextError: it is none; nor for upstream.
    """
    try:
        return int(digits)
    except ValueError:
        raise TextError(
            f"upstream's cleaner fails on {written!r} (ValueError): write it in another way, or "
            "take normalize=True."
        ) from None


# --- Quantities and numbers ----------------------------------------------------------------------


def _quantities(words: Words, unit: re.Pattern, one: str, many: str) -> Words:
    """Write out the words that are a number and a unit, with at most a mark after it."""
    changes: dict[str, str] = {}
    text, done = "".join(words), 0
    for row in _ROW.finditer(text):
        match = unit.match(text, row.end())
        if match is None or text[row.end() - 1] == ".":
            continue
        start = max(row.start(), done)  # a full stop before it may be the mark of the one before
        quantity = _quantity(text[start : row.end()], one, many)
        changes[text[start : match.end()]] = quantity + (match[1] or "")
        done = match.end()
    return [changes.get(word, word) for word in words]


def _quantity(value: str, one: str, many: str) -> str:
    whole, *decimals = value.split(".")
    if decimals:
        return " ".join([whole, "point", *decimals[0], many])
    return f"{whole} {one if whole == '1' else many}"


def _percentages(words: Words) -> Words:
    """Write out percentages; those with decimals are missed, as upstream looks for "2.5.5%"."""
    changes: dict[str, str] = {}
    text, done = "".join(words), 0
    for row in _ROW_WITH_COMMAS.finditer(text):
        number = _PERCENTAGE.match(text[max(row.start(), done) : row.end()][::-1])
        if number is None or not text.startswith("%", row.end()):
            continue
        value, decimals = number.group()[::-1], (number[1] or "")[::-1]
        done = row.end() + 1
        end = text[done] if text[done : done + 1] in set(".,?!") else ""
        done += len(end)
        changes.setdefault(f"{value}{decimals}%{end}", _quantity(value, "%", "percent") + end)
    return [changes.get(word, word) for word in words]


def _decimal(number: str, value: str, end: str) -> str:
    whole, _, decimals = value.partition(".")
    significant = decimals.lstrip("0")
    zeros = ["zero"] * (len(decimals) - len(significant))
    return f"{number}{whole} point {' '.join([*zeros, *significant])}{end}"


def _ordinal(digits: str, _: str) -> str:
    words = _number_words(digits)
    for ending, ordinal in _ORDINALS.items():
        if words.endswith(ending):
            return words.removesuffix(ending) + ordinal
    return f"{words}th"


def _number_words(digits: str) -> str:
    digits = digits.lstrip("0") or "0"
    if len(digits) > _MOST_DIGITS:
        return digits
    number = int(digits)
    if 0 < number < 3000 and number % 100 == 0 and number % 1000:
        return f"{number_words(number // 100)} hundred"
    return number_words(number)


def _plain_numbers(words: Words) -> Words:
    """Write out all numbers that are left.

    Upstream takes the numbers of the text one after the other, each with the mark after it, and
    writes it out in every word whose first number it is, wherever its digits stand in that word:
    "1/12" becomes "one/one2".
    """
    places: dict[str, list[int]] = {}
    for place, (digits, end) in enumerate(_NUMBER.findall("".join(words))):
        places.setdefault(digits + end, []).append(place)
    return [_with_numbers(word, places) for word in words]


def _with_numbers(word: str, places: dict[str, list[int]]) -> str:
    """Write out numbers in one word.

    Args:
        places: of each number with its mark in the row of the text's numbers.
    """
    place = -1
    while (first := _DIGITS.search(word)) is not None:
        digits = first.group()
        following = []
        for end in ("", ".", ",", "?", "!"):
            of_number = places.get(digits + end, [])
            number = bisect_right(of_number, place)
            if digits + end in word and number < len(of_number):
                following.append((of_number[number], end))
        words = _number_words(digits)
        if not following or words == digits:
            break
        place, end = min(following)
        word = word.replace(digits + end, words + end)
    return word
