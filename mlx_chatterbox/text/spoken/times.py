"""Times of day and durations: 7:05, 5:00, 17:45, 5:30 p.m., 7am, 9-5pm, 1:23:45; ratios 16:9."""

from __future__ import annotations

import re

from .numbers import digit_words, number_words, plain_words
from .reader import DIGIT, ReadingRule, word_after, word_before

_HALF = r"(?P<half>[ap])\.?\s?m\b(?P<stop>\.)?"
_CLOCK = re.compile(
    rf"(?P<hour>\d{{1,2}}):(?P<minute>[0-5]\d)(?!\d|:\d|,\d{{3}}(?!\d))(?:\s?{_HALF}(?![\w]))?"
    rf"(?:\s?(?:-|–|—)\s?(?P<hour2>\d{{1,2}})(?::(?P<minute2>[0-5]\d))?(?!\d|:\d)"
    r"(?:\s?(?P<half2>[ap])\.?\s?m\b(?P<stop2>\.)?(?![\w]))?)?",
    re.IGNORECASE,
)
_HOUR = re.compile(
    r"(?P<hour>\d{1,2})(?:\s?(?P<first>[ap])\.?m\b\.?)?(?:\s?(?:-|–|—)\s?(?P<hour2>\d{1,2})(?::(?P<minute2>[0-5]\d))?)?"
    rf"\s?{_HALF}(?![\w])",
    re.IGNORECASE,
)
_HOUR_DOT = re.compile(
    rf"(?P<hour>\d{{1,2}})\.(?P<minute>[0-5]\d)\s?{_HALF}(?![\w])", re.IGNORECASE
)
# As in Britain: "the 9.15 from Paddington", "at 6.30 in the morning".
_DOTTED = re.compile(
    r"(?P<hour>1?\d|2[0-4])\.(?P<minute>[0-5]\d)(?![\d%]|\.\d)(?=(?P<train> (?:from|to|train|bus|"
    r"express|ferry|down|up|special)\b)| (?:in the (?:morning|afternoon|evening)|at night"
    r"|o['’]clock|sharp)\b)"
)
_SECONDS = re.compile(r"(\d{1,3}):([0-5]\d):([0-5]\d)(?:\.(\d{1,3}))?(?![\d:])")
# 1:23.456, and 0600 hours.
_LAP = re.compile(r"(\d{1,2}):([0-5]\d)\.(\d{1,3})(?![\d:])")
_MILITARY = re.compile(r"(?P<hour>[01]\d|2[0-4])(?P<minute>[0-5]\d)(?![\w]|[-.,:/]\d)")
_CLOCKED = frozenset("at by before after until till from around about since".split())
_SIDE = r"(\d{1,3}(?:,\d{3}){1,3}(?!\d)|\d{1,6}(?:\.\d{1,3})?)"
_RATIO = re.compile(rf"{_SIDE}:{_SIDE}(?![\d:])")
_RATIOS = frozenset("ratio ratios odds scale aspect mix proportion".split())


def _clock(hour: int, minute: int, has_half: bool) -> str:
    if minute == 0:
        if has_half:
            return number_words(hour)
        if hour == 0 or hour > 12:
            return f"{number_words(hour)} hundred"
        return f"{number_words(hour)} o'clock"
    return f"{number_words(hour)} {'oh ' if minute < 10 else ''}{number_words(minute)}"


def stop_after(match: re.Match, stop: str | None) -> str:
    """The full stop of an abbreviation if it ends a sentence too."""
    rest = match.string[match.end() : match.end() + 3]
    if not stop or not (ends := rest.lstrip("\"'”’)]")):
        return stop or ""
    return "." if ends[0].isspace() and not ends.strip()[:1].islower() else ""


def _letters(half: str | None) -> str:
    return f" {half.lower()} m" if half else ""


def _time(match: re.Match) -> str | None:
    part = match.groupdict()
    hour, minute = int(part["hour"]), int(part["minute"])
    if hour > 24:
        return None
    before = word_before(match.string, match.start()).lower()
    if before in _RATIOS or word_after(match.string, match.end()) in _RATIOS:
        return None
    is_whole = word_after(match.string, match.end()) in ("noon", "midnight")
    oclock = word_after(match.string, match.end()).lower() == "o"
    words = _clock(hour, minute, bool(part["half"] or part["half2"]) or is_whole or oclock)
    words += _letters(part["half"])
    if part["hour2"]:
        if int(part["hour2"]) > 24:
            return None
        second = _clock(int(part["hour2"]), int(part["minute2"] or 0), bool(part["half2"]))
        words += f" to {second}{_letters(part['half2'])}"
    return words + stop_after(match, part["stop2"] or (part["stop"] if not part["hour2"] else None))


def _dotted(match: re.Match) -> str | None:
    if match.group("train") and word_before(match.string, match.start()).lower() != "the":
        return None
    return _clock(int(match.group("hour")), int(match.group("minute")), False)


def _hour(match: re.Match) -> str | None:
    part = match.groupdict()
    hour = int(part["hour"])
    if hour > 24:
        return None
    words = number_words(hour)
    if "minute" in part:
        words = _clock(hour, int(part["minute"]), True)
    if part.get("first"):
        words += _letters(part["first"])
    if part.get("first") and not part.get("hour2"):
        return None
    if part.get("hour2"):
        words += f" to {_clock(int(part['hour2']), int(part.get('minute2') or 0), True)}"
    return words + _letters(part["half"]) + stop_after(match, part["stop"])


def _duration(match: re.Match) -> str:
    hours, minutes, seconds = (int(match.group(n)) for n in (1, 2, 3))

    def counted(number: int, name: str) -> str:
        return f"{number_words(number)} {name}{'' if number == 1 else 's'}"

    parts = [
        counted(number, name)
        for number, name in ((hours, "hour"), (minutes, "minute"), (seconds, "second"))
        if number
    ]
    if not parts:
        return "zero hours"
    if len(parts) == 1:
        return parts[0]
    return f"{' '.join(parts[:-1])} and {parts[-1]}"


def _lap(match: re.Match) -> str:
    minutes, seconds, rest = match.groups()
    words = f"{number_words(int(minutes))} {'oh ' if seconds[0] == '0' else ''}"
    return f"{words}{number_words(int(seconds))} point {digit_words(rest)}"


def _military(match: re.Match) -> str | None:
    before = word_before(match.string, match.start()).lower()
    is_hours = word_after(match.string, match.end()) in ("hours", "hrs")
    if not is_hours and not (before in _CLOCKED and match.group()[0] == "0"):
        return None
    hour, minute = match.group("hour"), int(match.group("minute"))
    words = f"{'zero ' if hour[0] == '0' else ''}{number_words(int(hour))}"
    if not minute:
        return f"{words} hundred"
    return f"{words} {'zero ' if minute < 10 else ''}{number_words(minute)}"


def _ratio(match: re.Match) -> str:
    return f"{plain_words(match.group(1))} to {plain_words(match.group(2))}"


# Books of the Bible, whose chapters and verses are written like times.
_BOOKS = frozenset(
    "genesis exodus leviticus numbers deuteronomy joshua judges ruth samuel kings chronicles ezra "
    "nehemiah esther job psalm psalms proverbs ecclesiastes isaiah jeremiah lamentations ezekiel "
    "daniel hosea joel amos jonah micah nahum habakkuk zephaniah haggai zechariah malachi matthew "
    "mark luke john acts romans corinthians galatians ephesians philippians colossians "
    "thessalonians timothy titus philemon hebrews james peter jude revelation matt cor".split()
)
_VERSE = re.compile(r"(?P<chapter>\d{1,3}):(?P<verse>\d{1,3})(?:[-–](?P<last>\d{1,3}))?(?![\w:])")


def _verse(match: re.Match) -> str | None:
    if word_before(match.string, match.start()).lower().rstrip(".") not in _BOOKS:
        return None
    words = " ".join(number_words(int(match.group(name))) for name in ("chapter", "verse"))
    return f"{words} to {number_words(int(match.group('last')))}" if match.group("last") else words


# Before numbers that begin with a zero are read digit by digit.
MILITARY = (ReadingRule(DIGIT, _MILITARY, _military),)
RULES = (
    ReadingRule(DIGIT, _VERSE, _verse, frozenset(":")),
    ReadingRule(DIGIT, _LAP, _lap, frozenset(":")),
    ReadingRule(DIGIT, _SECONDS, _duration, frozenset(":")),
    ReadingRule(DIGIT, _CLOCK, _time, frozenset(":")),
    ReadingRule(DIGIT, _DOTTED, _dotted, frozenset(".")),
    ReadingRule(DIGIT, _HOUR_DOT, _hour, frozenset("mM")),
    ReadingRule(DIGIT, _HOUR, _hour, frozenset("mM")),
    ReadingRule(DIGIT, _RATIO, _ratio, frozenset(":")),
)
