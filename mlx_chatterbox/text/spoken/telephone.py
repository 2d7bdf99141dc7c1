"""Telephone and other numbers that are read digit by digit: 555-0199, +1 (800) 555-0199, 007."""

from __future__ import annotations

import re

from .names import STATES
from .numbers import digit_words, number_words, short_words
from .reader import DIGIT, ReadingRule, word_after, word_before

_GAP = r"[-.\u2010\u2011\u2013 \u00a0]"
_PHONE = re.compile(
    rf"(?P<country>\+?\d{{1,3}}{_GAP}?)?(?:\((?P<area>\d{{2,5}})\){_GAP}?|(?P<area2>\d{{3}}){_GAP})"
    rf"(?P<rest>\d{{3,4}}{_GAP}\d{{3,4}})(?![\w]|{_GAP}\d)"
)
_LOCAL = re.compile(r"(?P<rest>\d{3}[-\u2010\u2011]\d{4})(?![\w]|[-.]\d)")
_LOCAL_SPACED = re.compile(r"(?P<rest>\d{3} \d{4})(?![\w]|[-.]\d)")
_ABROAD = re.compile(rf"\+(?P<rest>\d{{1,4}}(?:{_GAP}?\(?\d{{1,5}}\)?){{1,7}})(?![\w])")
_UK = re.compile(r"(?P<rest>0\d{2,4} \d{3,4}(?: ?\d{3,4}){1,2})(?![\w])")
_CARD = re.compile(r"(?P<rest>\d{4}(?:[ -]\d{4}){2,4})(?![\w])")
_SSN = re.compile(r"(?P<rest>\d{3}-\d{2}-\d{4})(?![\w-])")
_LONG = re.compile(r"(?P<rest>\d{37,})")
_ZEROS = re.compile(r"(?P<rest>0\d{1,15})(?![\w.,:/-]?\d|[\w°%]|(?<=0\d{3}) (?:hours|hrs)\b)")
# Keys and numbers dialled: *67, the # key.
_KEY = re.compile(r"(?P<key>[*#])(?P<rest>\d{2,3}#?)?(?![^\s.,;:!?)\"”’])")
_KEYS = frozenset("dial dialed press pressed pressing hit enter push".split())
_CALLED = frozenset(
    "call dial phone telephone tel tel. fax text number ring mobile cell sms at or on".split()
)
_EMERGENCY = re.compile(r"(?P<rest>911|999|112|411|311|988|211)(?![\w]|[-.,/:]\d)")
_CALLS = frozenset("call called calling calls dial dialed dialled dialing ring rang phone".split())
_CODES = frozenset(
    "zip zipcode code pin postcode password passcode id serial account ssn isbn".split()
)
# A number that texts go to: "text 741741", "text STOP to 12345".
_TEXTED = re.compile(r"\b(?:text|texts|sms)(?: \S{1,20} to)? $", re.IGNORECASE)
_CODE = re.compile(r"(?P<rest>\d{3,16})(?![\w]|[-.,/:]\d)")
_PLACES = frozenset(
    "room rooms flight flights suite apartment apt apt. bus route highway hwy hwy. interstate "
    "boeing "
    "channel gate train unit ward studio cabin locker exit platform dorm hall course csi "
    "area seat seats row block berth".split()
)
_LETTERED = re.compile(r"1-(?P<area>8\d\d|900)-(?=[A-Z])")
# A Boeing 737-800, the 747.
_PLANE = re.compile(r"(?P<rest>\d{3})-(?P<more>\d{1,4})(?![\w]|[-.,/:]\d)")
_JET = re.compile(r"7[0-8]7(?![\w%°$€£]|[-.,/:]\d)")
_ROOM = re.compile(r"(?P<rest>\d{3,4}|\d{1,2}(?=[A-Z]))(?P<letter>[A-Z])?(?![\w]|[-.,/:]\d)")


def _group(text: str) -> str:
    """A group of a telephone number in words: 800 is "eight hundred", the others digit by digit."""
    if len(text) == 3 and text.endswith("00") and text[0] != "0":
        return f"{number_words(int(text[0]))} hundred"
    return digit_words(text, "oh")


def _groups(text: str) -> str:
    return ", ".join(_group(group) for group in re.findall(r"\d+", text))


def _phone(match: re.Match) -> str:
    country = match.group("country") or ""
    words = "plus " if country.startswith("+") else ""
    area = match.group("area") or match.group("area2")
    groups = [*re.findall(r"\d+", country), area, *re.findall(r"\d+", match.group("rest"))]
    first = [_group(group) for group in groups]
    return words + ", ".join(first)


def _digits(match: re.Match) -> str:
    return _groups(match.group("rest"))


def _abroad(match: re.Match) -> str | None:
    if sum(map(str.isdigit, match.group())) < 7:
        return None
    return "plus " + _groups(match.group("rest"))


def _spaced(match: re.Match) -> str | None:
    before = word_before(match.string, match.start()).lower().rstrip(":")
    if match.group("rest")[4] != "0" and before not in _CALLED:
        return None
    return _groups(match.group("rest"))


def _emergency(match: re.Match) -> str | None:
    before = re.split(r"[.!?\n]", match.string[max(0, match.start() - 30) : match.start()])[-1]
    if match.group() != "911" and _CALLS.isdisjoint(before.lower().split()):
        return None
    return digit_words(match.group())


def _code(match: re.Match) -> str | None:
    if len(match.group()) == 5 and word_before(match.string, match.start()) in STATES:
        return digit_words(match.group(), "oh")
    text = match.string[max(0, match.start() - 30) : match.start()].lower().rstrip(" :#")
    if len(match.group()) > 4 and _TEXTED.search(
        match.string, max(0, match.start() - 40), match.start()
    ):
        return digit_words(match.group(), "oh")
    words = re.split(r"[^\w]+", text)
    before = words[-2:] if words[-1] in ("is", "number", "no", "the") else words[-1:]
    if not _CODES & set(before) or (
        len(match.group()) == 3 and before == ["code"] and "area" in words
    ):
        return digit_words(match.group(), "oh") if "area" in words and "code" in before else None
    return digit_words(match.group(), "oh" if {"zip", "zipcode"} & set(words) else "zero")


def _key(match: re.Match) -> str | None:
    after = word_after(match.string, match.end())
    if word_before(match.string, match.start()).lower() not in _KEYS and after not in (
        "key",
        "button",
    ):
        return None
    words = "star" if match.group("key") == "*" else "pound"
    rest = match.group("rest") or ""
    if rest:
        words += f" {digit_words(rest)}"
    return words + (" pound" if rest.endswith("#") else "")


def _room(match: re.Match) -> str | None:
    before = word_before(match.string, match.start()).lower()
    if before not in _PLACES:
        return None
    letter = match.group("letter")
    return short_words(match.group("rest")) + (f" {letter}" if letter else "")


def _plane(match: re.Match) -> str | None:
    if word_before(match.string, match.start()).lower() not in ("boeing", "airbus", "the", "a"):
        return None
    if not _JET.match(match.group("rest")):
        return None
    return f"{short_words(match.group('rest'))} {short_words(match.group('more'))}"


def _jet(match: re.Match) -> str | None:
    after = word_after(match.string, match.end())
    if word_before(match.string, match.start()).lower() not in ("the", "a", "boeing"):
        return None
    return None if len(after) > 3 and after.endswith("s") else short_words(match.group())


def _lettered(match: re.Match) -> str:
    return f"one, {_group(match.group('area'))}, "


def _plain_digits(match: re.Match) -> str:
    return digit_words(match.group("rest"))


_GAPS = frozenset("-.\u2010\u2011\u2013 \u00a0")
RULES = (
    ReadingRule(DIGIT, _LONG, _plain_digits),
    ReadingRule(DIGIT, _CARD, _digits, _GAPS),
    ReadingRule(DIGIT, _LETTERED, _lettered, frozenset("-")),
    ReadingRule(DIGIT, _SSN, _digits, frozenset("-")),
    ReadingRule(DIGIT + "(+", _PHONE, _phone, _GAPS),
    ReadingRule("+", _ABROAD, _abroad),
    ReadingRule(DIGIT, _LOCAL, _digits, frozenset("-\u2010\u2011")),
    ReadingRule(DIGIT, _LOCAL_SPACED, _spaced),
    ReadingRule(DIGIT, _UK, _digits, frozenset(" ")),
    ReadingRule(DIGIT, _EMERGENCY, _emergency),
    ReadingRule(DIGIT, _CODE, _code),
    ReadingRule(DIGIT, _PLANE, _plane, frozenset("-")),
    ReadingRule("7", _JET, _jet),
    ReadingRule(DIGIT, _ROOM, _room),
    ReadingRule(DIGIT, _ZEROS, _plain_digits),
    ReadingRule("*#", _KEY, _key),
)
