"""Measures: 10km, 180°C, 5ft, 6'2", 60 mph, 5-10 kg, 100 m², 10 g/cm³, 50%."""

from __future__ import annotations

import re

from .money import describes
from .numbers import QUANTITY, VULGAR, is_one, plain_words, quantity_words
from .reader import DIGIT, ReadingRule, word_after, word_before
from .times import stop_after
from .unit_names import PER, UNITS

# Short symbols, and words: units only without a space after the number: "5in", not "5 in".
_ATTACHED = frozenset("in mo".split())
# Letters that may be words or names: after a space, units only where they end their clause, or
# stand near another measure.
_DOUBTFUL = frozenset("A N K MP AU".split())
_CLAUSE_END = re.compile(
    r"(?=\.?(?:$|[\s\"”’]*$)|[,;:)]|\.\s|\s(?:plug|fuse|current|circuit|breaker"
    r"|supply|charger|outlet|socket|load|and|or|of force)\b)"
)
_MEASURED = re.compile(r"\d ?(?:[kmM]?[VWA]|[kM]?N|K|m|kg|s|°C)\b[^.!?]{0,12}$")
# After these words a letter after a number is not a unit: "Table 1A".
_LABELS = frozenset(
    "table figure fig. section part seat exhibit appendix grade type class group gate room "
    "platform unit question example page plate step item row column chapter schedule "
    "form lot block zone team division league apt. apartment suite ste. no. number panel "
    "figs. tables figures".split()
)
_HOT = re.compile(
    r"\b(?:oven|preheat\w*|heat\w*|temp\w*|bak\w+|degrees?|outside|weather|warm\w*|cold\w*|cool\w*|"
    r"hot|zero|boil\w*|melt\w*|freez\w*|roast\w*)\b",
    re.IGNORECASE,
)


_SYMBOLS = "|".join(sorted(map(re.escape, UNITS), key=len, reverse=True))
_PER_WHAT = "|".join(sorted(map(re.escape, PER), key=len, reverse=True))
_END = r"(?![^\W_])(?![²³])"
MEASURE = re.compile(
    rf"(?P<minus>[-−–])?(?P<low>{QUANTITY})(?P<first>°[CF]?|%|(?:k?g|[kcm]?m|lbs?|ft|in|mph|[GM]B)(?=\s?[-–—]))?(?:\s?(?P<joint>-|–|—|to|±|x|×)\s?"
    rf"(?P<high>{QUANTITY}))?(?P<more>\+)?(?P<gap>[ \u00a0-]?)(?:(?P<unit>{_SYMBOLS}){_END}"
    rf"(?:/(?P<per>{_PER_WHAT}){_END})?)(?P<stop>\.(?=\s[a-z(]|\)))?"
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
    "customers members fans records tons jobs homes units years times votes words passengers "
    "visitors voters workers residents patients children tonnes barrels doses shares cases "
    "deaths adults americans britons refugees students pupils households hectares litres liters "
    "accounts streams listeners tourists tests families migrants".split()
)
_MANY = re.compile(
    r"(?P<low>\d{1,6}(?:\.\d{1,3})?)(?P<size>bn|[MBmk])(?: (?P<unit>mi|km)\b\.?)?(?![\w'’])"
)


def _minus(match: re.Match) -> bool | None:
    """Return True for a negative number; None if its dash belongs to the text before it."""
    if not match.group("minus"):
        return False
    before = match.string[match.start() - 1 : match.start()]
    return None if before.isalnum() or before in tuple(")%°-–—") else True


def _is_unit(match: re.Match) -> bool:
    """Return True where a unit stands after a number, not a word or a letter."""
    low, symbol, gap = (match.group(k) for k in ("low", "unit", "gap"))
    text, end = match.string, match.end()
    is_letter = len(symbol) == 1 and symbol.isalpha()
    if symbol in ("C", "F"):
        return bool(re.fullmatch(r"\d{1,3}", low)) and _is_hot(match)
    if gap == " " and symbol in _DOUBTFUL:
        if symbol == "K":
            return _is_hot(match)
        before = text[max(0, match.start() - 24) : match.start()]
        return _CLAUSE_END.match(text, end) is not None and (
            "." in low or symbol != "A" or _MEASURED.search(before) is not None
        )
    if symbol in ("st", "kt"):  # 21st is not a weight; 24 kt. is of gold
        is_ordinal = symbol == "st" and not gap and low.endswith("1") and low != "11"
        is_apart = gap == " " or (symbol == "st" and not gap and not is_ordinal)
        return is_apart and low.isdigit() and not word_after(text, end)[:1].isupper()
    if is_letter and not gap and word_before(text, match.start()).lower() in _LABELS:
        return False
    if symbol == "pp" and not gap:
        return False
    if gap and symbol in _ATTACHED:
        return symbol == "in" and (match.group("stop") or text[end : end + 1]) == "."
    if is_letter and gap == "-":
        return symbol in "mgLWV" and word_after(text, end).islower()
    if symbol in ("K", "N"):
        return False
    if symbol == "s" and low in ("707", "717", "727", "737", "747", "757", "767", "777", "787"):
        return False
    if symbol == "s":
        # The 1990s, the 20s.
        is_decade = len(low) == 2 and low[1] == "0" and low > "10"
        return "." in low or (len(low) < 4 and not is_decade)
    return not (symbol == "m" and not gap and word_after(text, end) in _THINGS)


def _is_hot(match: re.Match) -> bool:
    """Return True where the words before a number are about temperature."""
    return _HOT.search(match.string, max(0, match.start() - 40), match.start()) is not None


# Hours before in the same sentence, with no measure of length between.
_HOURS = re.compile(r"\d ?h(?:rs?)?\.?(?: |,|\d)(?:(?![.!?\n] |\d ?k?m )[^\n]){0,24}$")


_PARTS = re.compile(r"(?P<part>1/[2-9]|1/1\d|1/2\d)s(?![^\W_])")
# Of blood: 120/80 mmHg.
_PRESSURE = re.compile(r"(?P<over>\d{2,3})/(?P<under>\d{2,3})\s?mm\s?Hg(?![^\W_])")


def _parts(match: re.Match) -> str:
    """Read a fraction in the plural: in 1/4s."""
    words = quantity_words(match.group("part")).removeprefix("one ")
    return "halves" if words == "half" else f"{words}s"


def _pressure(match: re.Match) -> str:
    over, under = match.groups()
    return f"{plain_words(over)} over {plain_words(under)} {UNITS['mmHg'][1]}"


def _measure(match: re.Match) -> str | None:
    low, high, symbol = (match.group(k) for k in ("low", "high", "unit"))
    negative = _minus(match)
    if negative is None or not _is_unit(match):
        return None
    if not high and (match.group("joint") or match.group("first")):
        return None
    if symbol == "m" and _HOURS.search(match.string, max(0, match.start() - 40), match.start()):
        symbol = "min"  # 1h 30m; 2h30m, then 45m
    singular, plural = UNITS[symbol]
    words = quantity_words(low)
    if high:
        words += f" {_JOINTS.get(match.group('joint'), 'to')} {quantity_words(high)}"
    words += " plus" if match.group("more") else ""
    is_part = not high and _is_part(low) and singular != plural
    if is_part:
        words = "half a" if words == "one half" else f"{words} of a"
    one = is_part or is_one(high or low) or match.group("gap") == "-" or describes(match)
    words = f"{'minus ' if negative else ''}{words} {singular if one else plural}"
    return words + _per(match)


def _per(match: re.Match) -> str:
    return f" per {PER[match.group('per')]}" if match.group("per") else ""


# Units after a number that another rule has read, except those that could be words: "10^-4 in".
_SURE = "|".join(
    sorted(
        map(re.escape, set(UNITS) - _ATTACHED - _DOUBTFUL - {"C", "F", "st", "pp", "kt"}),
        key=len,
        reverse=True,
    )
)
UNIT_AFTER = rf"(?:\s?(?P<unit>{_SURE}){_END}(?:/(?P<per>{_PER_WHAT}){_END})?)?"


def unit_after(match: re.Match) -> str:
    """The unit matched by `UNIT_AFTER`, in the plural, with a space before it; "" for none."""
    unit = match.group("unit")
    return f" {UNITS[unit][1]}{_per(match)}" if unit else ""


def _is_part(text: str) -> bool:
    """Return True where a quantity is a fraction alone, as in "half a mile"."""
    return re.fullmatch(rf"[{VULGAR}]|\d+/\d+", text) is not None


def _feet(match: re.Match) -> str | None:
    feet, inches = match.group("feet"), match.group("inches")
    if match.start() and match.string[match.start() - 1] in "'‘":
        return None  # in quotation marks: the '400'
    if inches is None and (
        match.string[match.end() : match.end() + 1].isalnum() or "’" in match.group()
    ):
        return None
    words = f"{plain_words(feet)} {'foot' if feet == '1' else 'feet'}"
    if inches:
        words += f" {quantity_words(inches)} {'inch' if inches == '1' else 'inches'}"
    return words


def _inches(match: re.Match) -> str | None:
    text, end = match.string, match.end() - 1
    is_second = re.search(
        r"\d[\"″](?: ?[WDHLwdhl])? ?[x×] ?$", text[max(0, match.start() - 8) : match.start()]
    )
    if match.group()[-1] == '"' and not is_second and text.count('"', max(0, end - 1000), end) % 2:
        return None  # it closes a quotation
    inches = match.group("inches")
    if _is_part(inches):
        return f"{quantity_words(inches)} of an inch".replace("one half of", "half")
    one = inches == "1" or describes(match)
    return f"{quantity_words(inches)} {'inch' if one else 'inches'}"


def _many(match: re.Match) -> str | None:
    size, unit = match.group("size"), match.group("unit")
    if size != "bn" and not unit and word_after(match.string, match.end()) not in _THINGS:
        return None
    size = {"M": "million", "m": "million", "k": "thousand"}.get(size, "billion")
    return f"{plain_words(match.group('low'))} {size}" + (f" {UNITS[unit][1]}" if unit else "")


_ANY_UNIT = frozenset("".join(UNITS))


def _by(match: re.Match) -> str | None:
    """Read an x between two measures: 10 ft x 12 ft."""
    before = match.string[max(0, match.start() - 8) : match.start()]
    return "by" if re.search(r"\d ?(?:ft|in|cm|mm|m|km|yd)\.? $|\d['\"′″] $", before) else None


# With a full stop, after few: "2 c. flour", "62 pts.", "2 doz.", "½ pt. cream".
_FEW = re.compile(
    rf"(?P<low>(?:\d{{1,2}} )?\d/\d{{1,2}}|\d{{0,2}}\s?[{VULGAR}]|\d{{1,4}})"
    r"(?:\s?[-–]\s?(?P<high>\d{1,2}))?"
    r"[ \u00a0]?(?P<unit>c|C|doz|pkgs?|pts?|pcs?|qts|gals|tbs|tbsps|Tbsps?|tsps|pp)\.(?!\w)"
)
_FEW_NAMES = {
    "c": "cup", "doz": "dozen", "pkg": "package", "pkgs": "package", "pt": "pint", "pts": "pint",
    "pc": "piece", "pcs": "piece", "qts": "quart", "gals": "gallon", "tbs": "tablespoon",
    "tbsp": "tablespoon", "tbsps": "tablespoon", "pp": "page", "tsps": "teaspoon",
}  # fmt: skip


def _few(match: re.Match) -> str | None:
    low, high, unit = match.group("low"), match.group("high"), match.group("unit").lower()
    after = word_after(match.string, match.end())
    name = _FEW_NAMES[unit]
    if unit == "c" and not after.islower():
        return None
    count = int(low) if low.isdigit() else 0
    if (unit == "pp" and count < 20) or (unit != "pp" and count > 999):
        return None  # "up 3 pp." is of percentage points
    if unit == "pts" and (not after.islower() or (low.isdigit() and int(low) > 10)):
        name = "point"  # of a score
    elif unit == "pt" and not after.islower():
        return None
    names = name if is_one(high or low) or name == "dozen" else f"{name}s"
    words = quantity_words(low) + (f" to {quantity_words(high)}" if high else "")
    return f"{words} {names}" + (stop_after(match, ".") if not after.islower() else "")


# Volts and hertz of two nets: 50/60 Hz.
_EITHER = re.compile(
    r"(?P<one>\d{2,3})/(?P<other>\d{2,3})\s?(?P<unit>[kM]?Hz|k?V|k?W|m?A)(?![^\W_])"
)
# 48°51′N, 2°21'03"E
_PLACE = re.compile(
    r"(?P<degrees>\d{1,3}(?:\.\d{1,6})?)\s?°\s?(?:(?P<minutes>\d{1,2}(?:\.\d{1,4})?)\s?[′'’]\s?)?"
    r"(?:(?P<seconds>\d{1,2}(?:\.\d{1,4})?)\s?(?:″|\"|”|'')\s?)?(?P<side>[NSEW])(?![^\W_])"
)
_SIDES = {"N": "north", "S": "south", "E": "east", "W": "west"}


def _place(match: re.Match) -> str:
    """Read degrees, minutes and seconds of latitude or longitude."""
    words = [
        f"{plain_words(number)} {name[:-1] if number in ('1', '01') else name}"
        for name in ("degrees", "minutes", "seconds")
        if (number := match.group(name))
    ]
    return " ".join([*words, _SIDES[match.group("side")]])


def _either(match: re.Match) -> str:
    one, other, unit = match.groups()
    return f"{plain_words(one)} or {plain_words(other)} {UNITS[unit][1]}"


RULES = (
    ReadingRule(DIGIT, _PLACE, _place, frozenset("°")),
    ReadingRule(DIGIT, _PRESSURE, _pressure, frozenset("/")),
    ReadingRule(DIGIT, _PARTS, _parts, frozenset("/")),
    ReadingRule(DIGIT, _EITHER, _either, frozenset("/")),
    ReadingRule(DIGIT + VULGAR, _FEW, _few, frozenset(".")),
    ReadingRule("xX×", _BY, _by),
    ReadingRule(DIGIT, _FEET_WORDS, _feet, frozenset("f")),
    ReadingRule(DIGIT, _MANY, _many, frozenset("bMBmk")),
    ReadingRule(DIGIT + "-−–.½⅓⅔¼¾⅕⅛⅜⅝⅞", MEASURE, _measure, _ANY_UNIT),
    ReadingRule(DIGIT, _FEET, _feet, frozenset("'’′")),
    ReadingRule(DIGIT + VULGAR, _INCHES, _inches, frozenset('"″')),
)
