"""Sums of money: $3.50, £1.01, 20€, $5 million, $2bn, $5-$10, USD 5, 99¢, $20/hour."""

from __future__ import annotations

import re

from .currencies import AFTER, BEFORE, CODES, GROUPED_BY_POINTS, SIGNS, WORD_LIKE, Names
from .numbers import NUMBER, canonical, number_words, plain_words, quantity_words
from .reader import DIGIT, LETTER, ReadingRule, word_after, word_before

_SMALL = {"¢": ("cent", "cents"), "p": ("penny", "pence")}
_ALL = {**SIGNS, **CODES, **BEFORE}
_AFTERS = {**SIGNS, **CODES, **AFTER}
_SIZES = {
    "k": "thousand", "thousand": "thousand", "hundred": "hundred",
    "m": "million", "mn": "million", "mm": "million", "mil": "million", "mio": "million",
    "million": "million",
    "b": "billion", "bn": "billion", "bil": "billion", "billion": "billion",
    "t": "trillion", "tn": "trillion", "trn": "trillion", "trillion": "trillion",
    "lakh crore": "lakh crore", "lakh": "lakh", "lakhs": "lakh", "lac": "lakh", "lacs": "lakh",
    "crore": "crore", "crores": "crore",
}  # fmt: skip
_PER = {
    "h": "hour", "hr": "hour", "hour": "hour", "d": "day", "day": "day", "wk": "week",
    "week": "week", "mo": "month", "mth": "month", "month": "month", "yr": "year", "y": "year",
    "year": "year", "min": "minute", "minute": "minute", "kg": "kilogram", "g": "gram",
    "lb": "pound", "oz": "ounce", "gal": "gallon", "l": "liter", "mile": "mile", "mi": "mile",
    "km": "kilometer", "night": "night", "person": "person", "unit": "unit", "share": "share",
    "ton": "ton", "barrel": "barrel", "bbl": "barrel", "kWh": "kilowatt hour",
    "sq ft": "square foot",
    "user": "user", "ea": "each", "piece": "piece", "head": "head",
}  # fmt: skip
_SIZE = (
    r"(?i:[\s-]?(?:lakh crore|lakhs?|lacs?|crores?|hundred|thousand|million|billion|trillion|mio"
    r"|mil|mn|mm|bil|bn|trn|tn|[kmbt])\b)"
)
_SIGN = "|".join(sorted(map(re.escape, _ALL), key=len, reverse=True))
_AFTER_SIGN = "|".join(
    re.escape(sign) + (r"(?![^\W_])" if sign[-1].isalpha() else r"(?!\d)" if sign == "$" else "")
    for sign in sorted(_AFTERS, key=len, reverse=True)
)
# With no hundredth parts, as in "50,-".
_EVEN = r"(?:[,.][-–](?=\s|[;)]|$))?"
_PER_WHAT = "|".join(sorted(_PER, key=len, reverse=True))
_BEFORE = re.compile(
    rf"(?P<minus>[-−–]\s?)?(?P<sign>{_SIGN})\s?(?P<inner>[-−])?(?P<low>{NUMBER})(?P<size>{_SIZE})?"
    rf"(?:\s?(?:-|–|—)\s?(?:{_SIGN})?(?P<high>{NUMBER})(?P<high_size>{_SIZE})?)?"
    rf"(?P<plus>\+)?(?:\s?/\s?(?P<per>{_PER_WHAT})\b(?:\.(?=\s[^A-Z\s]))?)?"
    rf"(?P<hyphen>-(?=[A-Za-z]))?{_EVEN}"
)
_AFTER = re.compile(
    rf"(?P<low>{NUMBER})(?P<size>{_SIZE})?(?:\s?(?:-|–|—)\s?(?P<high>{NUMBER})"
    rf"(?P<high_size>{_SIZE})?)?{_EVEN}[\s-]?(?P<sign>{_AFTER_SIGN})"
    rf"(?:\s?/\s?(?P<per>{_PER_WHAT})\b(?:\.(?=\s[^A-Z\s]))?)?"
)
_IN_LAKHS = re.compile(rf"(?:₹|Rs\.?|INR)\s?(?P<low>{NUMBER})\s?(?P<size>[Cc]r\b\.?|L(?![^\W_]))")
# Thousands grouped by a space, or by points, as where the currency is at home.
_SPACED = r"\d{1,3}(?: \d{3}){1,4}(?!\d)"
_RAND = re.compile(rf"R ?(?P<low>{_SPACED}|{NUMBER})(?P<size>{_SIZE})?(?![^\W_])")
_CENTS = re.compile(
    r"(?P<low>\d{1,3}(?:\.\d{1,2})?)(?:\s?¢|p(?![\w'’]))"
    rf"(?:\s?/\s?(?P<per>{_PER_WHAT})\b)?"
)
# Of before 1971: £3 10s. 6d.
_OLD = re.compile(
    r"(?:[£L](?P<pounds>\d{1,6}),? )?(?P<shillings>\d{1,2})s\.?(?:,? (?P<pence>\d{1,2})d\b\.?)?"
    r"(?P<stop>(?=\s[A-Z]|\s*$))?"
)
# Some $100s.
_HUNDREDS = re.compile(r"(?P<sign>[$£€])(?P<many>10|100|1,?000)s\b")
_MANY = {"10": "tens", "100": "hundreds", "1000": "thousands"}
# After these a number stands before a noun that it describes: "a $5 bill".
_ARTICLES = ("a", "an")
# Nouns that a sum or a measure describes without an article, too: "the $5 million deal".
_DESCRIBED = frozenset(
    "deal bill note coin prize fund loan fine budget project contract investment fee ticket reward "
    "bet jackpot salary gift check cheque payment donation grant settlement lawsuit bond mortgage "
    "house mansion home industry company market business bailout bonus question discount run race "
    "jack plug supply charger fuse outlet cable dash walk hike radius screen bulb file drive "
    "battery lens marathon swim limit zone bottle "
    "bag tank engine pool tower man woman boy girl fence wall board pipe rope monitor".split()
)
_NO_NOUNS = frozenset(
    "a an the in on of for to at by from with and or but is was were are be as if that than when "
    "per each every off".split()
)


def describes(match: re.Match) -> bool:
    """Return True where the match describes a noun after it, so that its unit is singular."""
    before = word_before(match.string, match.start()).lower()
    after = word_after(match.string, match.end())
    if after in _DESCRIBED or after.removesuffix("s") in _DESCRIBED:
        return True
    return before in _ARTICLES and bool(after) and after not in _NO_NOUNS


def _sum_words(number: str, size: str | None, names: Names, one: bool) -> str:
    """A sum, with its unit."""
    singular, plural, part, parts = names
    digits = canonical(number)
    if size:
        word = _SIZES[size.strip(" \u00a0\n-").lower()]
        return f"{plain_words(number)} {word} {singular if one else plural}"
    whole, _, decimals = digits.partition(".")
    if len(decimals) == 1 and decimals != "0":
        decimals += "0"
    if len(decimals) > 2 or (decimals and (len(whole) > 12 or not part)):
        return f"{plain_words(number)} {plural}"
    cents = int(decimals or 0)
    in_cents = f"{number_words(cents)} {part if cents == 1 else parts}"
    if cents and not int(whole or 0):
        return in_cents
    unit = singular if int(whole or 0) == 1 or one else plural
    words = f"{plain_words(whole or '0')} {unit}"
    return f"{words} and {in_cents}" if cents else words


# The point of 20.000, which in a price is none of decimals: €1.499 per liter is another thing.
_GROUPED = re.compile(r"(?<=^[1-9])\.(?=\d{3}$)|(?<=^\d\d)\.(?=\d{3}$)|(?<=^\d{3})\.(?=\d{3}$)")


def _is_money(match: re.Match, is_before: bool) -> bool:
    """Return True where letters at a number are a currency, not a word, a fort or a father."""
    sign, low, text, end = match.group("sign"), match.group("low"), match.string, match.end()
    if not any(c.isalpha() for c in sign) or sign[-1] in "$¥£₵¢":
        return True
    after = word_after(text, end)
    if text[end : end + 1].isalnum() or re.match(r"[:/.-]\d", text[end : end + 2]):
        return False
    amount = float(canonical(low))
    if sign == "R":
        return False  # `_rand` has looked
    if sign == "Ft":
        return amount >= 1000 and not after[:1].isupper() and after not in _HEIGHTS
    if not is_before and sign.rstrip(".").lower() in ("fr", "frs"):
        return not after[:1].isupper()
    if sign in WORD_LIKE:
        is_small = amount < 100 and not match.group("size") and is_before
        return not (is_small or (after.isupper() and len(after) > 1))
    return True


_HEIGHTS = frozenset("above below high tall deep long wide of up down away elevation".split())


def _rand(match: re.Match) -> str | None:
    """Read rands: R250 a night, R2.5 billion; not the R500 form."""
    low, size, text = match.group("low"), match.group("size"), match.string
    after = word_after(text, match.end())
    is_sum = size or re.search(r",\d{3}| \d{3}|^\d{3,}\.\d\d$", low)
    if not is_sum and not (len(low) > 1 and after in ("a", "an", "per", "each")):
        return None
    return _sum_words(low.replace(" ", ""), size, BEFORE["R"], describes(match))


def _in_lakhs(match: re.Match) -> str:
    size = "crore" if match.group("size").lower().startswith("cr") else "lakh"
    return _sum_words(match.group("low"), size, SIGNS["₹"], describes(match))


def _money(match: re.Match) -> str | None:
    parts = match.groupdict()
    sign = parts["sign"]
    is_before = match.start("sign") < match.start("low")
    names = (_ALL if is_before else _AFTERS)[sign]
    if not _is_money(match, is_before):
        return None
    if parts.get("minus") and match.start() and match.string[match.start() - 1].isalnum():
        return None
    one = bool(parts.get("hyphen")) or describes(match)
    low, high, size, high_size = (parts[k] for k in ("low", "high", "size", "high_size"))
    if sign in GROUPED_BY_POINTS and not size:
        low, high = (text and _GROUPED.sub("", text) for text in (low, high))
    if high:
        last = _sum_words(high, high_size, names, one)
        if size or (high_size and low != high and not size):
            first = plain_words(low) + (f" {_SIZES[size.strip().lower()]}" if size else "")
        else:
            first = _sum_words(low, None, names, False)
            if "." not in low:
                first = plain_words(low)
        words = f"{first} to {last}"
    else:
        words = _sum_words(low, size, names, one)
    if parts.get("minus") or parts.get("inner"):
        words = f"minus {words}"
    if parts.get("plus"):
        words = f"{words} plus"
    if parts.get("per"):
        unit = _PER.get(parts["per"]) or _PER[parts["per"].lower()]
        words += " each" if unit == "each" else f" per {unit}"
    return words + (" " if parts.get("hyphen") else "")


def _cents(match: re.Match) -> str:
    name, names = _SMALL["¢" if "¢" in match.group() else "p"]
    low = match.group("low")
    per = f" per {_PER[match.group('per')]}" if match.group("per") else ""
    return f"{plain_words(low)} {name if low == '1' else names}{per}"


def _old(match: re.Match) -> str | None:
    part = match.groupdict()
    text, end = match.string, match.end()
    # "10s. in gold": the second has no full stop.
    is_coin = match.group().endswith(".") and text[end : end + 2].strip()[:1].islower()
    if not part["pounds"] and not part["pence"] and not is_coin:
        return None
    names = (("pounds", "pound"), ("shillings", "shilling"), ("pence", "penny"))
    words = " ".join(
        f"{number_words(int(part[many]))} {one if part[many] == '1' else many}"
        for many, one in names
        if part[many]
    )
    is_end = match.group().endswith(".") and part["stop"] is not None
    return words + ("." if is_end else "")


# 4d., 7½d.; the 2d. and the 3d. may be days, too.
_PENCE = re.compile(r"(?P<low>\d{1,2}(?:\s?½)?|½)d\.(?!\w)")
# 26l. sterling; 2l. of water is another thing.
_POUNDS = re.compile(
    r"(?P<low>\d{1,3}(?:,\d{3})+|\d{1,6})l\."
    r"(?: (?P<shillings>\d{1,2})s\.)?(?: (?P<pence>\d{1,2})d\.)?"
    r"(?=\s(?!of\b)[a-z])"
)
_PRICED = frozenset("for at from to of costs cost costing paid pay only a price and or".split())


def _pence(match: re.Match) -> str | None:
    low, text = match.group("low"), match.string
    is_day = low[-1] in "23" and low not in ("12", "13")
    if is_day and word_before(text, match.start()).lower() not in _PRICED - {"of", "a", "and"}:
        return None
    is_end = word_after(text, match.end())[:1].isupper() or not text[match.end() :].strip()
    return f"{quantity_words(low)} {'penny' if low == '1' else 'pence'}" + ("." if is_end else "")


def _pounds(match: re.Match) -> str:
    low, shillings, pence = match.groups()
    words = f"{plain_words(low)} {'pound' if low == '1' else 'pounds'}"
    if shillings:
        words += (
            f" {number_words(int(shillings))} {'shilling' if shillings == '1' else 'shillings'}"
        )
    return words + (f" {number_words(int(pence))} pence" if pence else "")


def _hundreds(match: re.Match) -> str:
    names = SIGNS[match.group("sign")]
    return f"{_MANY[match.group('many').replace(',', '')]} of {names[1]}"


_STARTS = "".join(dict.fromkeys(sign[0] for sign in _ALL if not sign[0].isalpha()))
RULES = (
    ReadingRule(DIGIT, _POUNDS, _pounds, frozenset("l")),
    ReadingRule(DIGIT, _PENCE, _pence, frozenset("d")),
    ReadingRule("£L" + DIGIT, _OLD, _old, frozenset("s")),
    ReadingRule("$£€", _HUNDREDS, _hundreds, frozenset("s")),
    ReadingRule("₹RI", _IN_LAKHS, _in_lakhs, frozenset("cCL")),
    ReadingRule("R", _RAND, _rand, frozenset("0123456789")),
    ReadingRule("-−–" + _STARTS + LETTER, _BEFORE, _money, frozenset("0123456789")),
    ReadingRule(DIGIT, _AFTER, _money, frozenset(sign[0] for sign in _AFTERS)),
    ReadingRule(DIGIT, _CENTS, _cents, frozenset("¢p")),
)
