"""Numbers as they stand, powers, roots, fractions, ranges, and the signs between numbers."""

from __future__ import annotations

import re
import unicodedata

from .numbers import (
    NUMBER,
    QUANTITY,
    VULGAR,
    digit_words,
    fraction_words,
    number_words,
    ordinal_words,
    plain_words,
    quantity_words,
    short_words,
)
from .reader import DIGIT, LETTER, ReadingRule, word_after, word_before
from .units import UNIT_AFTER, UNITS, unit_after

_RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻"
_MINUS = "-−–"
_SCIENTIFIC = re.compile(
    rf"(?P<minus>[-−])?(?P<low>{NUMBER})\s?[×xX·*]\s?10(?:\^\{{?|(?=[{_RAISED}]))(?P<power>[-−+]?\d{{1,3}}|[{_RAISED}]{{1,4}})\}}?"
    + UNIT_AFTER
)
_E = re.compile(
    r"(?P<minus>[-−])?(?P<low>\d{1,6}(?:\.\d{1,12})?)[eE](?P<power>[-−+]?\d{1,3})(?![\w.])"
    + UNIT_AFTER
)
_POWER = re.compile(
    rf"(?P<low>{NUMBER}|[A-Za-z]{{1,3}}(?=[\^{_RAISED}]))(?:\^[({{]?(?P<power>[-−+]?\d{{1,3}}|[A-Za-z])[)}}]?(?![\w])|(?P<raised>[{_RAISED}]{{1,4}}))"
    + UNIT_AFTER
)
_ROOT = re.compile(rf"(?P<root>[√∛∜])\(?(?P<low>{NUMBER}|[A-Za-z](?!\w))?")
# As older books write it: the 2d of June, the 22d Regiment.
_D = (
    r"(?<=[23])d(?=[ -](?:of|day|edition|ed\.|ser\.|regiment|series|Regiment|Cavalry|Infantry"
    r"|Battalion|Division|Brigade|Corps|Army|Artillery|Street|Avenue|Earl|Duke|Lord|Baron|Lieut|District"
    r"|Edition|Series|Congress|Session|Mate|Floor|Cir\.)\b)"
)
_ORDINAL = re.compile(
    rf"(?P<low>\d{{1,3}}(?:,\d{{3}}){{1,4}}|\d{{1,15}})"
    rf"(?:st|nd|rd|th|{_D}|ST|ND|RD|TH|ˢᵗ|ⁿᵈ|ʳᵈ|ᵗʰ|º|ª)"
    r"(?![^\W_])(?P<hyphen>-(?=[A-Za-z]))?"
)
_FRACTION = re.compile(
    r"(?P<over>\d{1,3})/(?P<under>\d{1,4})(?![\d/]|\.\d)(?P<ord>ths?|rds?|nds?)?(?P<hyphen>-(?=[A-Za-z]))?"
)
_SPECIAL = {
    "24/7": "twenty four seven",
    "9/11": "nine eleven",
    "24-7": "twenty four seven",
    "20/20": "twenty twenty",
    "50/50": "fifty fifty",
    "7/11": "seven eleven",
    "365/24/7": "three sixty five twenty four seven",
}
# The 401(k), 501(c)(3).
_CLAUSE = re.compile(r"(?P<low>\d{3})(?P<rest>(?:\([a-z\d]\)){1,3})")
# Of music: 2/4 time.
_BEATS = frozenset("time meter metre bar bars beat rhythm signature".split())
_SPECIALS = re.compile(rf"(?:{'|'.join(_SPECIAL)})(?![\d/]|\.\d)")
_OUT_OF = re.compile(r"(?P<over>\d{1,2}\.\d)/(?P<under>5|10|100)(?![\w/]|\.\d)")
_SCORES = frozenset("rated scored score rating rate got gave give scores earned".split())
_TIMES = re.compile(
    rf"(?P<low>{NUMBER})\s?(?P<sign>[x×]|(?<!\s)X)(?=(?P<sum>\s?[-+−=<>≤≥^/]\s?\w)|\s|$|[.,;:!?)-](?!\d)|-)"
)
_BY = re.compile(
    rf"(?P<one>{NUMBER})\s?[x×X]\s?(?P<other>{NUMBER})(?:\s?[x×X]\s?(?P<third>{NUMBER})(?P<tail>{UNIT_AFTER}))?(?![\w])"
)
_RANGE = re.compile(
    rf"(?P<minus>[-−–])?(?P<low>{QUANTITY})\s?(?:-|–|—|‑)\s?(?P<high>{QUANTITY})(?![\w]|[-–/.:]\d)(?P<hyphen>-(?=[A-Za-z]))?"
)
_CHAIN = re.compile(r"(?P<rest>\d{1,4}(?:-\d{1,7}(?!\d)){2,4000})")
_SUM = re.compile(rf"(?P<low>{NUMBER})\s?-\s?(?P<high>{NUMBER})(?=\s?=)")
_SPACED_MINUS = re.compile(rf"(?P<low>{QUANTITY}) [-−–] (?P<high>{NUMBER})(?= ?=)")
_TIGHT_LIST = re.compile(r"(?P<rest>\d{1,4}(?:,\d{1,4}(?!\d)){2,4000})")
_PLUSED = re.compile(rf"(?P<low>{NUMBER})\+(?![\d\w+=]| ?\d)")
_SIGNED = re.compile(
    rf"(?P<sign>[-−–+±~≈∼<>≤≥≠=]=?)\s?(?P<low>{QUANTITY}|∞)(?P<hyphen>-(?=[A-Za-z]))?"
)
_SIGNS = {
    "-": "minus", "−": "minus", "–": "minus", "+": "plus", "±": "plus or minus", "~": "about",
    "≈": "approximately", "∼": "about", "<": "less than", ">": "greater than",
    "≤": "less than or equal to", "≥": "greater than or equal to", "<=": "less than or equal to",
    ">=": "greater than or equal to", "≠": "not equal to", "=": "equals", "==": "equals",
}  # fmt: skip
_BARE = re.compile(rf"(?P<low>{QUANTITY})(?P<hyphen>-(?=[A-Za-z]))?")
_BETWEEN = re.compile(r"(?P<sign>[+±×÷=<>≤≥≠≈∗*/^]|<=|>=|!=|==|[-−–](?= [^=\n]{1,20}=))")
_BETWEEN_SIGNS = {
    "+": "plus", "±": "plus or minus", "×": "times", "÷": "divided by", "=": "equals",
    "<": "is less than", ">": "is greater than", "≤": "is less than or equal to",
    "≥": "is greater than or equal to", "≠": "is not equal to", "≈": "is approximately equal to",
    "-": "minus", "−": "minus", "–": "minus", "∗": "times", "*": "times",
    "/": "divided by", "^": "to the power of",
}  # fmt: skip
_NUMBER_SIGN = re.compile(rf"(?:#|№)\s?(?P<low>{NUMBER})(?P<hyphen>-(?=[A-Za-z]))?")


def _exponent(text: str) -> int | None:
    digits = unicodedata.normalize("NFKD", text).replace("−", "-").replace("⁻", "-")
    try:
        return int(digits)
    except ValueError:
        return None


def power_words(power: int) -> str:
    """An exponent: "squared", "cubed", "to the eighth", "to the minus three"."""
    if power == 2:
        return "squared"
    if power == 3:
        return "cubed"
    if power < 0:
        return f"to the minus {number_words(-power)}"
    return f"to the {ordinal_words(power)}" if power else "to the zero"


def _lettered_power(letter: str) -> str:
    return "to the N" if letter in "nN" else f"to the {letter.upper()}"


def _scientific(match: re.Match) -> str | None:
    power = _exponent(match.group("power"))
    if power is None:
        return None
    sign = "minus " if match.group("minus") else ""
    how = (
        f"to the minus {number_words(-power)}"
        if power < 0
        else f"to the {ordinal_words(power) if power else 'zero'}"
    )
    return f"{sign}{plain_words(match.group('low'))} times ten {how}{unit_after(match)}"


def _power(match: re.Match) -> str | None:
    low, power = match.group("low"), match.group("power")
    raised = match.group("raised")
    if raised and (low + raised) in UNITS:
        return UNITS[low + raised][0]
    base = (
        plain_words(low)
        if not low.isalpha()
        else low
        if low.islower() and len(low) > 2
        else " ".join(low)
    )
    if power and power.isalpha():
        return f"{base} {_lettered_power(power)}"
    number = _exponent(power or raised)
    return None if number is None else f"{base} {power_words(number)}{unit_after(match)}"


def _root(match: re.Match) -> str:
    name = {"√": "square", "∛": "cube", "∜": "fourth"}[match.group("root")]
    low = match.group("low") or ""
    words = low if low.isalpha() or not low else plain_words(low)
    return f"the {name} root of {words}".rstrip()


def _tail(match: re.Match) -> str:
    return " " if match.group("hyphen") else ""


def _ordinal(match: re.Match) -> str | None:
    if match.group().endswith("st") and match.group("low")[-2:] in _STONES:
        return None
    return ordinal_words(int(match.group("low").replace(",", ""))) + _tail(match)


# Not ordinals but weights: 14st.
_STONES = frozenset(str(number) for number in range(6, 31) if number % 10 != 1 or number == 11)


def _fraction(match: re.Match) -> str | None:
    over, under = int(match.group("over")), int(match.group("under"))
    after = match.string[match.end() : match.end() + 2].lstrip()[:1]
    if over > under > 1 and after == "=":
        return f"{number_words(over)} divided by {number_words(under)}"
    before = match.string[max(0, match.start() - 24) : match.start()].lower().split()[-2:]
    stars = word_after(match.string, match.end()) in ("stars", "points", "star", "rating")
    if under in (5, 10, 100) and (stars or not _SCORES.isdisjoint(before) or over == under):
        return f"{number_words(over)} out of {number_words(under)}{_tail(match)}"
    if under in (2, 4, 8, 16) and word_after(match.string, match.end()) in _BEATS:
        return f"{number_words(over)} {number_words(under)}"
    is_fraction = 0 < over < under or (under in (2, 3, 4, 8, 16) and over)
    if is_fraction and (under <= 20 or under in (32, 64, 100, 1000)):
        return fraction_words(over, under) + _tail(match)
    return f"{number_words(over)} over {number_words(under)}{_tail(match)}"


def _times(match: re.Match) -> str:
    if match.group("sum") and match.group("sign") == "x" and match.group("sum")[0] != "-":
        return f"{plain_words(match.group('low'))} x"  # the unknown of an equation: 2x + 3
    return f"{plain_words(match.group('low'))} times"


_AFTER_PRODUCTS = frozenset("is equals makes gives plus and minus or in to are was".split())


def _by(match: re.Match) -> str | None:
    text = match.string[match.end() : match.end() + 3].strip()
    after = word_after(match.string, match.end())
    is_product = re.search(r"\d ?×", match.group()) and not match.group("third")
    goes_on = after and after not in _AFTER_PRODUCTS
    word = "times" if text.startswith("=") or (is_product and not goes_on) else "by"
    parts = [match.group(name) for name in ("one", "other", "third") if match.group(name)]
    return f" {word} ".join(_size(part) for part in parts) + unit_after(match)


def _size(text: str) -> str:
    if re.fullmatch(r"[1-9]\d{3}", text):
        head, tail = divmod(int(text), 100)
        if tail >= 10:
            return f"{number_words(head)} {number_words(tail)}"
    return plain_words(text)


def _range(match: re.Match) -> str | None:
    low, high = match.group("low"), match.group("high")
    words = f"{quantity_words(low)} to {quantity_words(high)}{_tail(match)}"
    if low == high and len(low) == 2:
        words = f"{quantity_words(low)} {quantity_words(high)}{_tail(match)}"
    spaced = match.group()[len(match.group("minus") or "") + len(low)] == " "
    if spaced and low.isdigit() and high.isdigit() and int(low) > int(high):
        words = f"{quantity_words(low)} minus {quantity_words(high)}"
    if match.group("minus"):
        before = match.string[match.start() - 1 : match.start()] if match.start() else ""
        if before.isalnum() or before in tuple("-–—"):
            return None
        words = f"minus {words}"
    return words


def _sum(match: re.Match) -> str:
    return f"{plain_words(match.group('low'))} minus {plain_words(match.group('high'))}"


def _chain(match: re.Match) -> str:
    if sum(map(str.isdigit, match.group("rest"))) > 8:
        return ", ".join(map(digit_words, match.group("rest").split("-")))
    return " ".join(
        digit_words(part) if part.startswith("0") else number_words(int(part))
        for part in match.group("rest").split("-")
    )


def _list(match: re.Match) -> str | None:
    parts = match.group("rest").split(",")
    if len(parts[-1]) == 3 and len({len(part) for part in parts[1:-1]} | {2, 3}) == 2:
        return None
    return ", ".join(plain_words(part) for part in parts)


def _plused(match: re.Match) -> str:
    return f"{plain_words(match.group('low'))} plus"


def _signed(match: re.Match) -> str | None:
    sign, text, at = match.group("sign"), match.string, match.start()
    word = _SIGNS.get(sign)
    before = text[max(0, at - 2) : at]
    if word is None:
        return None
    bare = before.rstrip()
    follows = bool(bare) and (bare[-1].isalnum() or bare[-1] in ")²³")
    if sign in _MINUS and before and not before[-1].isspace() and before[-1] not in "(=[,:/×*÷<>≈±":
        return None
    if sign in _MINUS and match.group()[1:2] == " " and (not follows or not bare[-1].isdigit()):
        return None
    is_spaced = before[-1:].isspace() and match.group()[len(sign) :][:1].isspace()
    if sign in _BETWEEN_SIGNS and sign not in _MINUS and follows and is_spaced:
        return None  # the sign by itself, so that what follows may have a unit
    is_predicate = word_before(text, at).lower() in ("is", "was", "are", "were", "be", "been", "of")
    if sign in "<>≤≥≠≈=" and sign and follows and not is_predicate:
        word = _BETWEEN_SIGNS.get(sign[0], word) if sign not in ("<=", ">=") else f"is {word}"
    if sign == "<=":
        word = "is less than or equal to" if follows else word
    low = match.group("low")
    words = "infinity" if low == "∞" else quantity_words(low)
    return f"{word} {words}{_tail(match)}"


def _bare(match: re.Match) -> str:
    return quantity_words(match.group("low")) + _tail(match)


_MEASURED = re.compile(r"\d ?(?:[A-Za-z]{2,4}|[°º][CF]?)\.? $")


def _between(match: re.Match) -> str | None:
    """Read a sign between two numbers or letters: "a < b", "2+2=4"."""
    text, start, end = match.string, match.start(), match.end()
    before, after = text[max(0, start - 2) : start], text[end : end + 2]
    sign = match.group("sign")
    if not before.strip() or not after.strip():
        return None
    left, right = before.rstrip()[-1:], after.lstrip()[:1]
    spaced = before[-1].isspace() and after[0].isspace()
    is_added = sign == "+" and spaced and left == "."  # "per mo. + utilities"
    if not (left.isalnum() or left in ")²³%" or is_added) or not (
        right.isalnum() or right in "(-−√∞πθαβ"
    ):
        return None
    if sign in "*/^" and not spaced and not (left.isdigit() and right.isdigit()):
        return None
    if sign == "/" and spaced and _MEASURED.search(text, max(0, start - 8), start):
        return ","  # 150 kg / 330 lbs
    if sign == "/" and re.match(r"(?! ?[\d.,]+(?:[^\w%°]|$))", text[end : end + 16]):
        return ","
    if sign in "<>" and not spaced and not (left.isdigit() or right.isdigit()):
        return None
    if sign in _MINUS and not (
        spaced and re.search(r"(?:\b[a-zA-Z]|\d[a-z]?|[)²³]) $", text[max(0, start - 4) : start])
    ):
        return None
    word = _BETWEEN_SIGNS[sign]
    if word_before(text, start).lower() in ("is", "was", "are", "were", "be", "been", "of", "at"):
        word = word.removeprefix("is ")
    if left.isdigit() and right.isdigit() and sign == "=":
        word = "equals"
    return word


def _clause(match: re.Match) -> str:
    parts = [
        number_words(int(part)) if part.isdigit() else part.upper()
        for part in re.findall(r"\w", match.group("rest"))
    ]
    return " ".join([short_words(match.group("low")), *parts])


def _number_sign(match: re.Match) -> str:
    return f"number {plain_words(match.group('low'))}{_tail(match)}"


RULES = (
    ReadingRule(DIGIT, _SPECIALS, lambda match: _SPECIAL[match.group()], frozenset("/-")),
    ReadingRule(DIGIT, _CLAUSE, _clause, frozenset("(")),
    ReadingRule(DIGIT + "-−.", _SCIENTIFIC, _scientific, frozenset("×xX·*")),
    ReadingRule(DIGIT + "-−", _E, _scientific, frozenset("eE")),
    ReadingRule(DIGIT + LETTER, _POWER, _power, frozenset("^" + _RAISED)),
    ReadingRule("√∛∜", _ROOT, _root),
    ReadingRule(DIGIT, _ORDINAL, _ordinal, frozenset("hdtHDTʰⁿᵈˢᵗºª")),
    ReadingRule("#№", _NUMBER_SIGN, _number_sign),
    ReadingRule(DIGIT, _CHAIN, _chain, frozenset("-")),
    ReadingRule(DIGIT, _TIGHT_LIST, _list, frozenset(",")),
)
_MIXED = re.compile(r"(?P<low>\d{1,4}[ -]\d{1,2}/\d{1,3})(?![\d/]|\.\d)")
# Guns and averages: "a .45", "he batted .305".
_GUNS = frozenset("22 25 32 38 40 44 45 50 303 308 357 410".split())
_AVERAGE = re.compile(
    r"\b(?:bat|bats|batt(?:ed|ing)|hit|hits|hitting|average|averag(?:ed|ing)) "
    r"(?:only |just |around )?$"
)
_POINT = re.compile(
    r"\.(?P<rest>\d{1,9})(?!\d|\.\d)(?P<gun>[ -](?=(?:cal|rifle|pistol|revolver|gun|handgun"
    r"|round|bullet|magnum|ammo|shell)))?"
)


def _out_of(match: re.Match) -> str:
    return f"{plain_words(match.group('over'))} out of {plain_words(match.group('under'))}"


def _mixed(match: re.Match) -> str | None:
    over, under = match.group("low").replace("-", " ").split(" ")[1].split("/")
    return quantity_words(match.group("low")) if int(over) < int(under) else None


def _point(match: re.Match) -> str | None:
    text, start, rest = match.string, match.start(), match.group("rest")
    before = text[start - 1 : start] if start else ""
    if match.group("gun"):
        return short_words(rest) + " "
    if rest in _GUNS and word_before(text, start).lower() in ("a", "his", "her", "my", "your"):
        return short_words(rest)
    if len(rest) == 3 and _AVERAGE.search(text, max(0, start - 24), start):
        return short_words(rest) if rest[0] != "0" else None
    return f"point {digit_words(match.group('rest'))}" if before.isalnum() else None


# After measures, money and dates.
_COMPARED = re.compile(r"(?P<sign>[~≈∼<>≤≥±]|<=|>=)\s?(?=[-−$£€]?[\d.])")


def _compared(match: re.Match) -> str | None:
    """Read a sign before a number with a unit or a currency: ~5km."""
    before = match.string[max(0, match.start() - 2) : match.start()]
    follows = before.strip() and (before.rstrip()[-1].isalnum() or before.rstrip()[-1] in ")²³°%")
    if follows and (not before[-1].isspace() or match.group()[-1].isspace()):
        return None
    return f"{_SIGNS[match.group('sign')]} "


NUMBERS = (
    ReadingRule(".", _POINT, _point),
    ReadingRule(DIGIT, _OUT_OF, _out_of, frozenset("/")),
    ReadingRule(DIGIT, _MIXED, _mixed, frozenset("/")),
    ReadingRule(DIGIT, _SUM, _sum, frozenset("=")),
    ReadingRule(DIGIT, _SPACED_MINUS, _sum, frozenset("=")),
    ReadingRule(DIGIT + "-−–" + VULGAR, _RANGE, _range, frozenset("-–—‑")),
    ReadingRule(DIGIT, _FRACTION, _fraction, frozenset("/")),
    ReadingRule(DIGIT, _BY, _by, frozenset("xX×")),
    ReadingRule(DIGIT + ".", _TIMES, _times, frozenset("xX×")),
    ReadingRule(DIGIT, _PLUSED, _plused, frozenset("+")),
    ReadingRule("~≈∼<>≤≥±", _COMPARED, _compared),
    ReadingRule("-−–+±~≈∼<>≤≥≠=", _SIGNED, _signed),
)
LAST = (
    ReadingRule(DIGIT + "." + VULGAR, _BARE, _bare),
    ReadingRule("+±×÷=<>≤≥≠≈∗*/^-−–", _BETWEEN, _between),
)
