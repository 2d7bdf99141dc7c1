"""Durations: 1h30, 2h30m, 1 h 5 min, 2d 4h, 3h59'12"; "30s" as seconds or as years of a decade."""

from __future__ import annotations

import re

from .money import describes
from .numbers import number_words, plural_words
from .reader import DIGIT, ReadingRule, word_after, word_before

# Units from the longest to the shortest, and their abbreviations.
_UNITS = (
    ("year", "years|year|yrs|yr|y"),
    ("month", "months|month|mths|mth|mos|mo"),
    ("week", "weeks|week|wks|wk|w"),
    ("day", "days|day|d"),
    ("hour", "hours|hour|hrs|hr|h"),
    ("minute", "minutes|minute|mins|min|m"),
    ("second", "seconds|second|secs|sec|s"),
)
_NAME_OF = {form: name for name, forms in _UNITS for form in forms.split("|")}
_RANK_OF = {name: rank for rank, (name, _) in enumerate(_UNITS)}
_FORM = "|".join(sorted(_NAME_OF, key=len, reverse=True))
_PART = rf"\d{{1,4}}\s?(?:{_FORM})"
# At least two parts; the last number of hours and minutes may go without its unit: 1h30.
_COMPOUND = re.compile(
    rf"(?P<all>{_PART}(?:\.?[ \u00a0]?{_PART}){{1,6}}(?:\.(?=\s?[a-z,;:)]))?)"
    r"(?P<hyphen>-(?=[a-z]))?(?![^\W_])"
)
_BARE_MINUTES = re.compile(
    r"(?P<hours>\d{1,3})[hH](?P<minutes>[0-5]\d)(?:['’′](?P<seconds>[0-5]\d)(?:[\"”″]|''))?"
    r"(?P<hyphen>-(?=[a-z]))?(?![\w'’])"
)
_COUNTED = re.compile(rf"(\d{{1,4}})\s?({_FORM})")
_CLOCKED = frozenset(["at", "until", "till", "til"])
_ROUND = re.compile(r"(?P<low>[1-9]0)s(?![\w'’])")
# Of banknotes and the like: "the 5s and 10s".
_PLURAL = re.compile(r"(?P<low>[1-9]|1\d)s(?![\w'’])")
_THE = re.compile(r"\b[Tt]he (?:\d{1,2}s(?:,| and| or|, and) ){0,3}$")
# Before these numbers a decade is meant: "the 30s", "in her late 40s".
_DECADES = frozenset(
    "the his her their my your our its one's whose this that these those early mid late middle "
    "later earlier upper lower low high very roaring swinging naughty gay mid-to-late "
    "early-to-mid from since during into between".split()
)
# After these it is seconds: "wait 30s", where the clause ends or goes on with no noun.
_SPANS = frozenset(
    "for after wait waits waited hold holds held rest rests rested every within under over about "
    "approximately approx approx. lasts lasted last past takes took take another additional extra "
    "only just exactly maximum max max. minimum min min. pause pauses delay sleep timeout than to "
    "by at plus rinse stir shake blend mix microwave heat cook boil simmer fry spin soak incubate "
    "run sprint plank time timer duration limit interval exceeds exceeding up in is was".split()
)
_GOES_ON = frozenset(
    "and or then to in with the a while for if when until before after more longer later ago each "
    "between per at on left remaining apart".split()
)
# Nouns described by a duration: "a 30s timer".
_TIMED = frozenset(
    "timer timeout delay interval intervals pause rest countdown clip video ad ads break "
    "window penalty exposure exposures limit plank sprint hold warning".split()
)
_NEAR = re.compile(r"\d ?(?:ms|secs?|mins?|hrs?|[1-9]s|5s|m|h)\b(?!\w)")
_JOINED = re.compile(r"[1-9]0s(?:,| and| or| to| through|,? and) $")
_JOINS = re.compile(r"(?:,| and| or| to| through) (?:the )?(?:early |mid-?|late )?['’]?[1-9]0s\b")


def _duration_words(counts: list[tuple[int, str]], one: bool) -> str:
    return " ".join(
        f"{number_words(count)} {name if one or count == 1 else name + 's'}"
        for count, name in counts
    )


def _compound(match: re.Match) -> str | None:
    counts = [(int(count), _NAME_OF[form]) for count, form in _COUNTED.findall(match.group("all"))]
    ranks = [_RANK_OF[name] for _, name in counts]
    if ranks != sorted(set(ranks)):
        return None
    # 10 m 5 s may be two measures, a minute that stands first has no more than two digits.
    if any(count > 99 for count, _ in counts[1:]):
        return None
    one = bool(match.group("hyphen")) or describes(match)
    return _duration_words(counts, one) + (" " if match.group("hyphen") else "")


def _bare_minutes(match: re.Match) -> str | None:
    if match.start() and match.string[match.start() - 1] in "-_./":
        return None
    hours, minutes = int(match.group("hours")), int(match.group("minutes"))
    if match.group("seconds"):
        counts = [(hours, "hour"), (minutes, "minute"), (int(match.group("seconds")), "second")]
        return _duration_words([(count, name) for count, name in counts if count], False)
    is_clock = word_before(match.string, match.start()).lower() in _CLOCKED and hours <= 24
    one = hours == 1 or bool(match.group("hyphen")) or describes(match)
    words = number_words(hours) + ("" if is_clock else " hour" if one else " hours")
    if minutes:
        words += f" {'oh ' if minutes < 10 else ''}{number_words(minutes)}"
    elif is_clock:
        words += " o'clock" if 0 < hours <= 12 else " hundred"
    return words + (" " if match.group("hyphen") else "")


def _round(match: re.Match) -> str | None:
    """Read 30s as thirty seconds beside words of durations; else other rules read a decade."""
    number, text = int(match.group("low")), match.string
    before = word_before(text, match.start()).lower()
    after = word_after(text, match.end())
    if after == "of" and number == 10:
        return "tens"
    is_timed = after in _TIMED
    if not is_timed:
        if _is_decade(text, match, before):
            return None
        is_span = before in _SPANS and (not after or after in _GOES_ON)
        if not is_span and not (before and _near_another(match)):
            return None
    return f"{number_words(number)} second{'' if is_timed else 's'}"


def _plural(match: re.Match) -> str | None:
    text = match.string
    if _THE.search(text, max(0, match.start() - 28), match.start()) is None:
        return None
    if word_after(text, match.end()) in _TIMED:
        return None
    return plural_words(number_words(int(match.group("low"))))


def _near_another(match: re.Match) -> bool:
    """Return True where another measure of time stands in the same clause."""
    text = match.string
    before = re.split(r"[.!?\n](?=\s)", text[max(0, match.start() - 24) : match.start()])[-1]
    after = re.split(r"[.!?\n](?=\s)", text[match.end() : match.end() + 24])[0]
    return _NEAR.search(before) is not None or _NEAR.search(after) is not None


def _is_decade(text: str, match: re.Match, before: str) -> bool:
    start = match.start()
    return (
        before in _DECADES
        or text[start - 1 : start] in tuple("'’‘")
        or _JOINED.search(text, max(0, start - 14), start) is not None
        or _JOINS.match(text, match.end()) is not None
    )


RULES = (
    ReadingRule(DIGIT, _BARE_MINUTES, _bare_minutes, frozenset("hH")),
    ReadingRule(DIGIT, _COMPOUND, _compound, frozenset("ymwdhms")),
    ReadingRule(DIGIT, _PLURAL, _plural, frozenset("s")),
    ReadingRule(DIGIT, _ROUND, _round, frozenset("s")),
)
