"""Sums of money: $3.50, £1.01, 20€, $5 million, $2bn, $5-$10, USD 5, 99¢, $20/hour."""

from __future__ import annotations

import re

from .numbers import NUMBER, canonical, number_words, plain_words
from .reader import DIGIT, Rule, word_after, word_before

# Sign or code: name, names, hundredth part, parts.
_DOLLAR = ("dollar", "dollars", "cent", "cents")
_CURRENCIES = {
    "$": _DOLLAR,
    "£": ("pound", "pounds", "penny", "pence"),
    "€": ("euro", "euros", "cent", "cents"),
    "¥": ("yen", "yen", "sen", "sen"),
    "₹": ("rupee", "rupees", "paisa", "paise"),
    "₽": ("ruble", "rubles", "kopeck", "kopecks"),
    "₩": ("won", "won", "jeon", "jeon"),
    "₪": ("shekel", "shekels", "agora", "agorot"),
    "₺": ("lira", "lira", "kurus", "kurus"),
    "₴": ("hryvnia", "hryvnias", "kopeck", "kopecks"),
    "₫": ("dong", "dong", "xu", "xu"),
    "₱": ("peso", "pesos", "centavo", "centavos"),
    "₦": ("naira", "naira", "kobo", "kobo"),
    "₿": ("bitcoin", "bitcoins", "cent", "cents"),
    "฿": ("baht", "baht", "satang", "satang"),
}
_CODES = {
    "USD": _DOLLAR,
    "US$": ("U S dollar", "U S dollars", "cent", "cents"),
    "AU$": ("Australian dollar", "Australian dollars", "cent", "cents"),
    "A$": ("Australian dollar", "Australian dollars", "cent", "cents"),
    "CA$": ("Canadian dollar", "Canadian dollars", "cent", "cents"),
    "C$": ("Canadian dollar", "Canadian dollars", "cent", "cents"),
    "NZ$": ("New Zealand dollar", "New Zealand dollars", "cent", "cents"),
    "HK$": ("Hong Kong dollar", "Hong Kong dollars", "cent", "cents"),
    "R$": ("real", "reais", "centavo", "centavos"),
    "AUD": ("Australian dollar", "Australian dollars", "cent", "cents"),
    "CAD": ("Canadian dollar", "Canadian dollars", "cent", "cents"),
    "EUR": _CURRENCIES["€"],
    "GBP": _CURRENCIES["£"],
    "JPY": _CURRENCIES["¥"],
    "CNY": ("yuan", "yuan", "fen", "fen"),
    "RMB": ("yuan", "yuan", "fen", "fen"),
    "CHF": ("Swiss franc", "Swiss francs", "centime", "centimes"),
    "INR": _CURRENCIES["₹"],
    "Rs.": _CURRENCIES["₹"],
    "Rs": _CURRENCIES["₹"],
    "BTC": _CURRENCIES["₿"],
    "SEK": ("krona", "kronor", "öre", "öre"),
    "NOK": ("krone", "kroner", "øre", "øre"),
    "DKK": ("krone", "kroner", "øre", "øre"),
}
_SMALL = {"¢": ("cent", "cents"), "p": ("penny", "pence")}
_ALL = {**_CURRENCIES, **_CODES}
_SIZES = {
    "k": "thousand", "thousand": "thousand", "hundred": "hundred",
    "m": "million", "mn": "million", "mm": "million", "mil": "million", "mio": "million",
    "million": "million",
    "b": "billion", "bn": "billion", "bil": "billion", "billion": "billion",
    "t": "trillion", "tn": "trillion", "trn": "trillion", "trillion": "trillion",
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
_SIZE = r"\s?(?:hundred|thousand|million|billion|trillion|mio|mil|mn|mm|bil|bn|trn|tn|[kmbt])\b"
_SIGN = "|".join(sorted(map(re.escape, _ALL), key=len, reverse=True))
_BEHIND_SIGN = (
    r"€|£|¥|₹|₽|₩|₪|₺|₴|₫|₱|₦|₿|฿|(?:USD|EUR|GBP|JPY|AUD|CAD|CHF|CNY|RMB|INR|BTC|SEK|NOK|DKK)\b"
    r"|\$(?!\d)"
)
_PER_WHAT = "|".join(sorted(_PER, key=len, reverse=True))
_BEFORE = re.compile(
    rf"(?P<minus>[-−–]\s?)?(?P<sign>{_SIGN})\s?(?P<inner>[-−])?(?P<low>{NUMBER})(?P<size>{_SIZE})?"
    rf"(?:\s?(?:-|–|—)\s?(?:{_SIGN})?(?P<high>{NUMBER})(?P<high_size>{_SIZE})?)?"
    rf"(?P<plus>\+)?(?:\s?/\s?(?P<per>{_PER_WHAT})\b)?(?P<hyphen>-(?=[A-Za-z]))?",
    re.IGNORECASE,
)
_AFTER = re.compile(
    rf"(?P<low>{NUMBER})(?P<size>{_SIZE})?(?:\s?(?:-|–|—)\s?(?P<high>{NUMBER})"
    rf"(?P<high_size>{_SIZE})?)?\s?(?P<sign>{_BEHIND_SIGN})(?:\s?/\s?(?P<per>{_PER_WHAT})\b)?"
)
_CENTS = re.compile(
    r"(?P<low>\d{1,3}(?:\.\d{1,2})?)(?:\s?¢|p(?![\w'’]))"
    rf"(?:\s?/\s?(?P<per>{_PER_WHAT})\b)?"
)
# Of before 1971: £3 10s. 6d.
_OLD = re.compile(
    r"(?:£(?P<pounds>\d{1,6}),? )?(?P<shillings>\d{1,2})s\.?(?:,? (?P<pence>\d{1,2})d\b\.?)?"
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
    """Whether what was matched describes a noun after it, so that its unit is in the singular."""
    before = word_before(match.string, match.start()).lower()
    after = word_after(match.string, match.end())
    if after in _DESCRIBED or after.removesuffix("s") in _DESCRIBED:
        return True
    return before in _ARTICLES and bool(after) and after not in _NO_NOUNS


def _said(number: str, size: str | None, names: tuple[str, ...], one: bool) -> str:
    """A sum, with its unit."""
    singular, plural, part, parts = names
    digits = canonical(number)
    if size:
        word = _SIZES[size.strip().lower()]
        return f"{plain_words(number)} {word} {singular if one else plural}"
    whole, _, decimals = digits.partition(".")
    if len(decimals) == 1 and decimals != "0":
        decimals += "0"
    if len(decimals) > 2 or (decimals and len(whole) > 12):
        return f"{plain_words(number)} {plural}"
    cents = int(decimals or 0)
    in_cents = f"{number_words(cents)} {part if cents == 1 else parts}"
    if cents and not int(whole or 0):
        return in_cents
    unit = singular if int(whole or 0) == 1 or one else plural
    said = f"{plain_words(whole or '0')} {unit}"
    return f"{said} and {in_cents}" if cents else said


def _money(match: re.Match) -> str | None:
    parts = match.groupdict()
    sign = parts["sign"]
    names = _ALL.get(sign) or _ALL.get(sign.upper())
    if names is None or (sign.isalpha() and sign not in _ALL):
        return None
    if parts.get("minus") and match.start() and match.string[match.start() - 1].isalnum():
        return None
    one = bool(parts.get("hyphen")) or describes(match)
    low, high, size, high_size = (parts[k] for k in ("low", "high", "size", "high_size"))
    if high:
        last = _said(high, high_size, names, one)
        if size or (high_size and low != high and not size):
            first = plain_words(low) + (f" {_SIZES[size.strip().lower()]}" if size else "")
        else:
            first = _said(low, None, names, False)
            if "." not in low:
                first = plain_words(low)
        said = f"{first} to {last}"
    else:
        said = _said(low, size, names, one)
    if parts.get("minus") or parts.get("inner"):
        said = f"minus {said}"
    if parts.get("plus"):
        said = f"{said} plus"
    if parts.get("per"):
        unit = _PER.get(parts["per"]) or _PER[parts["per"].lower()]
        said += " each" if unit == "each" else f" per {unit}"
    return said + (" " if parts.get("hyphen") else "")


def _cents(match: re.Match) -> str:
    name, names = _SMALL["¢" if "¢" in match.group() else "p"]
    low = match.group("low")
    per = f" per {_PER[match.group('per')]}" if match.group("per") else ""
    return f"{plain_words(low)} {name if low == '1' else names}{per}"


def _old(match: re.Match) -> str | None:
    part = match.groupdict()
    if not part["pounds"] and not part["pence"]:
        return None
    names = (("pounds", "pound"), ("shillings", "shilling"), ("pence", "penny"))
    said = " ".join(
        f"{number_words(int(part[many]))} {one if part[many] == '1' else many}"
        for many, one in names
        if part[many]
    )
    is_end = match.group().endswith(".") and part["stop"] is not None
    return said + ("." if is_end else "")


def _hundreds(match: re.Match) -> str:
    names = _CURRENCIES[match.group("sign")]
    return f"{_MANY[match.group('many').replace(',', '')]} of {names[1]}"


_STARTS = "".join(dict.fromkeys(sign[0] for sign in _ALL))
RULES = (
    Rule("£" + DIGIT, _OLD, _old, frozenset("s")),
    Rule("$£€", _HUNDREDS, _hundreds, frozenset("s")),
    Rule("-−–", _BEFORE, _money),
    Rule("".join(c for c in _STARTS if not c.isalpha()) + "a", _BEFORE, _money),
    Rule(DIGIT, _AFTER, _money, frozenset(_BEHIND_SIGN)),
    Rule(DIGIT, _CENTS, _cents, frozenset("¢p")),
)
