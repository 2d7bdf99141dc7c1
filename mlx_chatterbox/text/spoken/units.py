"""Measures: 10km, 180°C, 5ft, 6'2", 60 mph, 5-10 kg, 100 m², 10 g/cm³, 50%."""

from __future__ import annotations

import re

from .money import describes
from .numbers import QUANTITY, VULGAR, is_one, plain_words, quantity_words
from .reader import DIGIT, Rule, word_after

# Symbol: name, and names where they are not the name with an s.
_NAMES = {
    "km": "kilometer", "m": "meter", "dm": "decimeter", "cm": "centimeter", "mm": "millimeter",
    "µm": "micrometer", "μm": "micrometer", "nm": "nanometer", "mi": "mile",
    "yd": "yard", "yds": "yard", "ft": "foot/feet", "in": "inch/inches", "kg": "kilogram",
    "kgs": "kilogram", "g": "gram", "mg": "milligram", "µg": "microgram", "mcg": "microgram",
    "lb": "pound", "lbs": "pound", "oz": "ounce", "t": "ton", "L": "liter", "l": "liter",
    "ml": "milliliter", "mL": "milliliter", "cl": "centiliter", "dl": "deciliter",
    "gal": "gallon", "qt": "quart", "tbsp": "tablespoon", "tsp": "teaspoon",
    "s": "second", "sec": "second", "secs": "second", "ms": "millisecond", "µs": "microsecond",
    "ns": "nanosecond", "min": "minute", "mins": "minute", "h": "hour", "hr": "hour",
    "hrs": "hour", "yr": "year", "yrs": "year", "wk": "week", "wks": "week", "mo": "month",
    "mos": "month",
    "km/h": "kilometer per hour/kilometers per hour",
    "kmh": "kilometer per hour/kilometers per hour",
    "kph": "kilometer per hour/kilometers per hour", "mph": "mile per hour/miles per hour",
    "mi/h": "mile per hour/miles per hour",
    "mpg": "mile per gallon/miles per gallon", "m/s": "meter per second/meters per second",
    "m/s²": "meter per second squared/meters per second squared",
    "m/s^2": "meter per second squared/meters per second squared",
    "fps": "frame per second/frames per second", "rpm": "R P M/R P M", "bpm": "B P M/B P M",
    "dpi": "D P I/D P I", "ppm": "part per million/parts per million", "Hz": "hertz/hertz",
    "kHz": "kilohertz/kilohertz", "MHz": "megahertz/megahertz", "GHz": "gigahertz/gigahertz",
    "THz": "terahertz/terahertz", "W": "watt", "kW": "kilowatt", "MW": "megawatt",
    "GW": "gigawatt", "TW": "terawatt", "mW": "milliwatt", "Wh": "watt hour",
    "kWh": "kilowatt hour", "MWh": "megawatt hour", "GWh": "gigawatt hour",
    "hp": "horsepower/horsepower",
    "V": "volt", "mV": "millivolt", "kV": "kilovolt", "A": "amp", "mA": "milliamp",
    "mAh": "milliamp hour", "Ah": "amp hour", "Ω": "ohm", "kΩ": "kiloohm", "MΩ": "megaohm",
    "J": "joule", "kJ": "kilojoule", "MJ": "megajoule", "cal": "calorie", "kcal": "kilocalorie",
    "N": "newton", "kN": "kilonewton", "Nm": "newton meter", "Pa": "pascal",
    "hPa": "hectopascal", "kPa": "kilopascal", "MPa": "megapascal", "psi": "P S I/P S I",
    "atm": "atmosphere", "mbar": "millibar", "dB": "decibel", "lm": "lumen",
    "lx": "lux/lux", "mol": "mole", "eV": "electron volt", "keV": "kiloelectron volt",
    "MeV": "megaelectron volt", "ly": "light year", "AU": "astronomical unit",
    "KB": "kilobyte", "kB": "kilobyte", "MB": "megabyte", "GB": "gigabyte",
    "TB": "terabyte", "PB": "petabyte", "KiB": "kibibyte", "MiB": "mebibyte",
    "GiB": "gibibyte", "Kb": "kilobit", "kb": "kilobit", "Mb": "megabit", "Gb": "gigabit",
    "kbps": "kilobit per second/kilobits per second",
    "Kbps": "kilobit per second/kilobits per second",
    "Mbps": "megabit per second/megabits per second",
    "Gbps": "gigabit per second/gigabits per second",
    "MB/s": "megabyte per second/megabytes per second",
    "GB/s": "gigabyte per second/gigabytes per second",
    "px": "pixel", "MP": "megapixel", "ha": "hectare",
    "sq ft": "square foot/square feet", "sq. ft.": "square foot/square feet",
    "sq m": "square meter", "sq km": "square kilometer", "sq mi": "square mile",
    "sq. mi.": "square mile", "cu ft": "cubic foot/cubic feet", "fl oz": "fluid ounce",
    "fl. oz.": "fluid ounce", "cc": "C C/C C",
    "°C": "degree Celsius/degrees Celsius", "° C": "degree Celsius/degrees Celsius",
    "℃": "degree Celsius/degrees Celsius", "ºC": "degree Celsius/degrees Celsius",
    "°F": "degree Fahrenheit/degrees Fahrenheit", "° F": "degree Fahrenheit/degrees Fahrenheit",
    "℉": "degree Fahrenheit/degrees Fahrenheit", "ºF": "degree Fahrenheit/degrees Fahrenheit",
    "°K": "kelvin", "°": "degree", "º": "degree", "K": "kelvin", "′": "minute", "″": "second",
    "%": "percent/percent", "％": "percent/percent", "‰": "per mille/per mille",
    "pct": "percent/percent",
}  # fmt: skip
_RAISED = {"²": "square", "^2": "square", "2": "square", "³": "cubic", "^3": "cubic", "3": "cubic"}
_AREAS = ("km", "dm", "cm", "mm", "m", "mi", "ft", "in", "yd")
# So short, or words otherwise, that only what stands at the number is a unit: "5in", not "5 in".
_ATTACHED = frozenset("s A N K in MP mo AU".split())


def _forms(symbol: str) -> tuple[str, str]:
    name, slash, names = _NAMES[symbol].partition("/")
    return name, names if slash else f"{name}s"


def _table() -> dict[str, tuple[str, str]]:
    table = {symbol: _forms(symbol) for symbol in _NAMES}
    for symbol in _AREAS:
        name, names = _forms(symbol)
        for raised, word in _RAISED.items():
            if raised.isdigit() and symbol in ("in", "mi"):
                continue
            table[symbol + raised] = (f"{word} {name}", f"{word} {names}")
    return table


UNITS = _table()
_SYMBOLS = "|".join(sorted(map(re.escape, UNITS), key=len, reverse=True))
_PER = {
    "s": "second", "sec": "second", "min": "minute", "h": "hour", "hr": "hour", "hour": "hour",
    "day": "day", "d": "day", "week": "week", "month": "month", "year": "year", "yr": "year",
    "L": "liter", "l": "liter", "mL": "milliliter", "ml": "milliliter", "dL": "deciliter",
    "kg": "kilogram", "g": "gram", "lb": "pound", "m": "meter", "km": "kilometer",
    "m²": "square meter",
    "m³": "cubic meter", "cm²": "square centimeter", "cm³": "cubic centimeter",
    "km²": "square kilometer", "mile": "mile", "gal": "gallon", "100km": "one hundred kilometers",
    "100 km": "one hundred kilometers", "second": "second", "minute": "minute",
}  # fmt: skip
_PER_WHAT = "|".join(sorted(map(re.escape, _PER), key=len, reverse=True))
_END = r"(?![^\W_])(?![²³])"
MEASURE = re.compile(
    rf"(?P<minus>[-−–])?(?P<low>{QUANTITY})(?P<first>°[CF]?|%|(?:k?g|[kcm]?m|lbs?|ft|in|mph|[GM]B)(?=\s?[-–—]))?(?:\s?(?P<joint>-|–|—|to|±|x|×)\s?"
    rf"(?P<high>{QUANTITY}))?(?P<gap>[ \u00a0-]?)(?:(?P<unit>{_SYMBOLS}){_END}"
    rf"(?:/(?P<per>{_PER_WHAT}){_END})?)(?P<stop>\.(?=\s[a-z(]))?"
)
_JOINTS = {"±": "plus or minus", "x": "by", "×": "by"}
_FEET = re.compile(
    r"(?P<feet>\d{1,3})\s?['’′](?:\s?(?P<inches>\d{1,2}(?:½|\.5)?)\s?(?:\"|”|″|'')?(?![\w]))?(?![^\W_])"
)
_BY = re.compile(r"[xX×](?=\s\d)")
_FEET_WORDS = re.compile(
    r"(?P<feet>\d{1,3})\s?ft\.?,?\s?(?P<inches>\d{1,2}(?:½|\.5)?)\s?in(?![\w])(?:\.(?=\s[a-z]))?"
)
_INCHES = re.compile(rf"(?P<inches>{QUANTITY})(?:\"|″)")
_THINGS = frozenset(
    "people users views followers subscribers downloads dollars euros pounds copies viewers "
    "customers members fans records tons jobs homes units years times votes words".split()
)
_MANY = re.compile(r"(?P<low>\d{1,6}(?:\.\d{1,3})?)(?P<size>bn|[MB])(?![\w'’])")


def _minus(match: re.Match) -> bool | None:
    """Whether a number is negative; None if its dash belongs to what stands before."""
    if not match.group("minus"):
        return False
    before = match.string[match.start() - 1 : match.start()]
    return None if before.isalnum() or before in (")", "%", "°") else True


def _is_unit(match: re.Match) -> bool:
    """Whether what stands after a number is a unit, and no word or letter."""
    low, symbol, gap = (match.group(k) for k in ("low", "unit", "gap"))
    text, end = match.string, match.end()
    is_letter = len(symbol) == 1 and symbol.isalpha()
    if gap and symbol in _ATTACHED:
        return symbol == "in" and (match.group("stop") or text[end : end + 1]) == "."
    if is_letter and gap == "-":
        return False
    if symbol in ("K", "N"):
        return False
    if symbol == "s" and low in ("707", "717", "727", "737", "747", "757", "767", "777", "787"):
        return False
    if symbol == "s":
        # The 1990s, the 20s.
        is_decade = len(low) == 2 and low[1] == "0" and low > "10"
        return "." in low or (len(low) < 4 and not is_decade)
    return not (symbol == "m" and not gap and word_after(text, end) in _THINGS)


def _measure(match: re.Match) -> str | None:
    low, high, symbol = (match.group(k) for k in ("low", "high", "unit"))
    negative = _minus(match)
    if negative is None or not _is_unit(match):
        return None
    if not high and (match.group("joint") or match.group("first")):
        return None
    before = match.string[max(0, match.start() - 6) : match.start()]
    if symbol == "m" and re.search(r"\d ?h(?:rs?)?\.? $", before):
        symbol = "min"  # 1h 30m
    singular, plural = UNITS[symbol]
    said = quantity_words(low)
    if high:
        said += f" {_JOINTS.get(match.group('joint'), 'to')} {quantity_words(high)}"
    is_part = not high and _is_part(low) and singular != plural
    if is_part:
        said = "half a" if said == "one half" else f"{said} of a"
    one = is_part or is_one(high or low) or match.group("gap") == "-" or describes(match)
    said = f"{'minus ' if negative else ''}{said} {singular if one else plural}"
    if match.group("per"):
        said += f" per {_PER[match.group('per')]}"
    return said


def _is_part(text: str) -> bool:
    """Whether a quantity is a fraction alone, as in "half a mile"."""
    return re.fullmatch(rf"[{VULGAR}]|\d+/\d+", text) is not None


def _feet(match: re.Match) -> str | None:
    feet, inches = match.group("feet"), match.group("inches")
    if inches is None and (
        match.string[match.end() : match.end() + 1].isalnum() or "’" in match.group()
    ):
        return None
    said = f"{plain_words(feet)} {'foot' if feet == '1' else 'feet'}"
    if inches:
        said += f" {quantity_words(inches)} {'inch' if inches == '1' else 'inches'}"
    return said


def _inches(match: re.Match) -> str | None:
    text, end = match.string, match.end() - 1
    if text.count('"', max(0, end - 1000), end) % 2 and match.group()[-1] == '"':
        return None  # it closes a quotation
    inches = match.group("inches")
    if _is_part(inches):
        return f"{quantity_words(inches)} of an inch".replace("one half of", "half")
    one = inches == "1" or describes(match)
    return f"{quantity_words(inches)} {'inch' if one else 'inches'}"


def _many(match: re.Match) -> str | None:
    if match.group("size") != "bn" and word_after(match.string, match.end()) not in _THINGS:
        return None
    size = "million" if match.group("size") == "M" else "billion"
    return f"{plain_words(match.group('low'))} {size}"


_ANY_UNIT = frozenset("".join(UNITS))


def _by(match: re.Match) -> str | None:
    """Between two measures: 10 ft x 12 ft."""
    before = match.string[max(0, match.start() - 8) : match.start()]
    return "by" if re.search(r"\d ?(?:ft|in|cm|mm|m|km|yd)\.? $|\d['\"′″] $", before) else None


RULES = (
    Rule("xX×", _BY, _by),
    Rule(DIGIT, _FEET_WORDS, _feet, frozenset("f")),
    Rule(DIGIT, _MANY, _many, frozenset("bMB")),
    Rule(DIGIT + "-−–.½⅓⅔¼¾⅕⅛⅜⅝⅞", MEASURE, _measure, _ANY_UNIT),
    Rule(DIGIT, _FEET, _feet, frozenset("'’′")),
    Rule(DIGIT + VULGAR, _INCHES, _inches, frozenset('"″')),
)
