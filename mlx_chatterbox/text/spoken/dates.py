"""Dates and years: 3/4/2024, 2024-03-05, March 5, 2024, 5 March, the '90s, 1990–95, 44 BC."""

from __future__ import annotations

import re

from ..sentence_rules import sentence_rules_for
from .numbers import number_words, ordinal_words, plural_words, year_words
from .reader import DIGIT, LETTER, ReadingRule, word_after, word_before
from .times import stop_after

MONTHS = (
    "January February March April May June July August September October November December".split()
)
_SHORT = {
    "jan": 0, "feb": 1, "mar": 2, "apr": 3, "jun": 5, "jul": 6, "aug": 7, "sep": 8, "sept": 8,
    "oct": 9, "nov": 10, "dec": 11,
}  # fmt: skip
_MONTH_OF = {**_SHORT, **{name.lower(): index for index, name in enumerate(MONTHS)}}
_DAYS = {
    "mon": "Monday", "tue": "Tuesday", "tues": "Tuesday", "wed": "Wednesday", "weds": "Wednesday",
    "thu": "Thursday", "thur": "Thursday", "thurs": "Thursday", "fri": "Friday",
    "sat": "Saturday", "sun": "Sunday",
}  # fmt: skip
_MONTH = (
    r"(?P<month>January|February|March|April|May|June|July|August|September|October|November"
    r"|December|JANUARY|FEBRUARY|MARCH|APRIL|MAY|JUNE|JULY|AUGUST|SEPTEMBER|OCTOBER|NOVEMBER"
    r"|DECEMBER|(?:Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept|Sep|Oct|Nov|Dec)\b\.?)"
)
_DAY = r"(?:[0-2]?[1-9]|[1-3]0|31)"
_TH = r"(?:st|nd|rd|th|(?<=[23])d)?"
_YEAR = r"(?P<year>\d{4})(?![\d.,:/-]?\d)(?!s\b)"
_MONTH_DAY = re.compile(
    rf"{_MONTH}\s?(?:the )?(?P<day>{_DAY}){_TH}(?![\w:%°]|[.,/-]\d)"
    rf"(?:\s?(?:-|–|—)\s?(?P<day2>{_DAY}){_TH}"
    rf"(?![\w:]))?(?:,?\s{_YEAR})?"
)
_DAY_MONTH = re.compile(
    rf"(?P<day>{_DAY}){_TH}(?:\s?(?:-|–|—)\s?(?P<day2>{_DAY}){_TH})?[ -](?:of )?{_MONTH}(?![\w])"
    rf"(?:,?[ -]{_YEAR})?"
)
_MONTH_YEAR = re.compile(rf"{_MONTH},?\s{_YEAR}")
_MONTH_ALONE = re.compile(
    r"(?P<month>Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept|Sep|Oct|Nov|Dec)(?P<stop>\.)"
)
_WEEKDAY = re.compile(
    r"(?P<day>Mon|Tues|Tue|Weds|Wed|Thurs|Thur|Thu|Fri|Sat|Sun)(?:\.(?=[,;:)\"”’]?(?:\s|$))|(?=,\s(?:Jan|Feb|Mar|Apr"
    r"|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec|\d)))"
)
_SPAN = re.compile(
    r"(?P<one>Mon|Tue|Wed|Thu|Fri|Sat|Sun|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept|Sep|Oct|Nov|Dec)\.?"
    r"\s?[-–—]\s?(?P<other>Mon|Tue|Wed|Thu|Fri|Sat|Sun|Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sept|Sep"
    r"|Oct|Nov|Dec)(?![\w])"
)
_ISO = re.compile(
    r"(?P<year>\d{4})[-/.](?P<month>\d{1,2})[-/.](?P<day>\d{1,2})(?:T(?=\d\d:))?(?![\d/-])(?!\.\d)"
)
_SLASHED = re.compile(r"(\d{1,2})(?P<sign>[/.-])(\d{1,2})(?P=sign)(\d{4}|\d\d)(?![\d/-])(?!\.\d)")
_DECADE = re.compile(r"(?:['’‘](?P<short>\d0)|(?P<long>\d{1,3}0))['’]?s\b")
_SHORT_YEAR = re.compile(r"['’‘](\d\d)(?![\w'’])")
_ERA = re.compile(
    r"(?P<year>\d{1,5}|\d{1,3}(?:,\d{3}))(?:\s?(?:-|–|—)\s?(?P<year2>\d{1,4}))?\s?"
    r"(?P<era>BCE|BC|CE|AD|B\.C\.E\.|B\.C\.|A\.D\.|C\.E\.)(?![\w])"
)
_AD = re.compile(r"(?P<era>AD|A\.D\.)\s(?P<year>\d{1,4})(?![\w])")
_YEARS = re.compile(
    r"(?P<first>1[1-9]\d\d|20\d\d)\s?(?:-|–|—|/)\s?(?P<last>\d{4}|\d\d)(?![\w]|[.,:/-]\d)"
)
_BARE = re.compile(r"(?P<year>1[1-9]\d\d|20\d\d)(?![\w%°$€£]|[.,:/]\d|-\d)(?P<hyphen>-(?=[a-z]))?")
_IN = frozenset(
    "in since by of from until till before after during circa year years c. ca. around and to "
    "between summer winter spring autumn fall early late mid class".split()
)
_ON = frozenset("on every each next last this by until till from".split())
# To another date, after the one that stands before: 10 May 1815 – 2 June 1852; 2015–present.
_TO = re.compile(
    rf"\s?[-–—]\s?(?=(?:(?:c\.|ca\.|circa) )?(?:{_DAY} {_MONTH.replace('?P<month>', '?:')}|"
    rf"{_MONTH.replace('?P<month>', '?:')},? \d)|present\b)"
)
_DATE_BEFORE = re.compile(
    rf"(?:\b\d{{4}}(?: (?:BC|AD|BCE|CE))?|{_MONTH.replace('?P<month>', '?:')} \d{{1,2}})\s?$"
)
# "On 12/5", with a month first as in the USA.
_BARE_DAY = re.compile(
    rf"(?P<month>1[0-2]|0?[1-9])/(?P<day>{_DAY})(?![\w/%]|[.,:-]\d| (?:of|cup|inch|mile))"
)
_DAYS_APART = re.compile(r"(\d{1,2}/\d{1,2}) ?[-–—] ?(\d{1,2}/\d{1,2})(?![\w/]|[.,]\d)")
_DATED = frozenset(
    "on by until till since from due dated before after starting through avail avail. "
    "available expires exp".split()
)
_CENTURY = re.compile(r"c(?:ent)?\.(?!\w)")
_SINGULAR = frozenset(
    "was is has this his its as us yes was's perhaps always does gas bus series news across less "
    "unless thus plus christmas olympics games elections census earthquakes".split()
)
_PLURALS = frozenset("people men women children percent feet sheep fish dollars".split())


def _year(text: str) -> str:
    return year_words(int(text))


def _day_of(year: str | None, month: int, day: str, day2: str | None = None) -> str:
    words = f"{MONTHS[month]} {ordinal_words(int(day))}"
    if day2:
        words += f" to {ordinal_words(int(day2))}"
    return f"{words}, {_year(year)}" if year else words


def _month_index(match: re.Match) -> int:
    return _MONTH_OF[match.group("month").lower().rstrip(".")]


def _month_day(match: re.Match) -> str:
    part = match.groupdict()
    return _day_of(part["year"], _month_index(match), part["day"], part["day2"])


def _to(match: re.Match) -> str | None:
    text, start = match.string, match.start()
    if _DATE_BEFORE.search(text, max(0, start - 16), start) is None:
        before = word_before(text, start)
        if before.rstrip(".,") not in MONTHS and before.lower().rstrip(".,") not in _SHORT:
            return None
    return "to "


def _day_month(match: re.Match) -> str | None:
    part = match.groupdict()
    before = word_before(match.string, match.start()).lower()
    words = f"{ordinal_words(int(part['day']))} of {MONTHS[_month_index(match)]}"
    if part["day2"]:
        last = ordinal_words(int(part["day2"]))
        first, of, month = words.partition(" of ")
        words = f"{first} to the {last}{of}{month}"
    if before not in ("the", "this", "that", "every", "next", "last"):
        words = f"the {words}"
    return f"{words}, {_year(part['year'])}" if part["year"] else words


def _month_year(match: re.Match) -> str:
    return f"{MONTHS[_month_index(match)]} {_year(match.group('year'))}"


def _month_alone(match: re.Match) -> str:
    return MONTHS[_month_index(match)] + stop_after(match, ".")


def _weekday(match: re.Match) -> str | None:
    name = match.group("day").lower()
    after = word_after(match.string, match.end())
    before = word_before(match.string, match.start()).lower()
    is_date = (
        after.lower()[:3] in _MONTH_OF
        or match.string[match.end() : match.end() + 3].strip(", ")[:1].isdigit()
    )
    is_listed = bool(before) and (
        after[:1].islower() or before.rstrip(".") in _DAYS or _ends_in_day(match)
    )
    if name in ("sat", "sun") and not is_date and not is_listed and before not in _ON:
        return None  # he sat; the sun
    if not match.string[match.end() :].strip('"”’) \n'):
        return _DAYS[name] + "."
    ends = match.group().endswith(".") and after[:1].isupper()
    is_stop = ends and after.lower() in sentence_rules_for("en").starters
    return _DAYS[name] + ("." if is_stop else "")


def _ends_in_day(match: re.Match) -> bool:
    """Return True where a day of the week stands before "and": Sat. and Sun."""
    before = match.string[max(0, match.start() - 16) : match.start()]
    return re.search(r"(?:\b[A-Z][a-z]{2,4}\.|day)(?:,? (?:and|or|&)|,) $", before) is not None


def _span(match: re.Match) -> str:
    def name(short: str) -> str:
        short = short.lower()
        return _DAYS.get(short) or MONTHS[_MONTH_OF[short]]

    return f"{name(match.group('one'))} to {name(match.group('other'))}"


def _iso(match: re.Match) -> str | None:
    month, day = int(match.group("month")), int(match.group("day"))
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return None
    words = _day_of(match.group("year"), month - 1, str(day))
    return words + (" at" if match.group().endswith("T") else "")


def _slashed(match: re.Match) -> str | None:
    first, second, year = int(match.group(1)), int(match.group(3)), match.group(4)
    sign = match.group("sign")
    if sign == "." and len(year) < 4:
        return None
    # With full stops it is written as in Europe: day, month.
    month, day = (second, first) if sign == "." or first > 12 else (first, second)
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return None
    if len(year) == 2:
        if sign == "-":
            return None
        year = ("20" if int(year) < 50 else "19") + year
    return _day_of(year, month - 1, str(day))


def _bare_day(match: re.Match) -> str | None:
    before = word_before(match.string, match.start()).lower()
    if before not in _DATED and before.rstrip(".") not in _DAYS and not before.endswith("day"):
        return None
    return _day_of(None, int(match.group("month")) - 1, match.group("day"))


def _days(match: re.Match) -> str | None:
    """Read a range of days, 6/12-6/18; not of fractions, 1/2-3/4."""
    first, last = (match.group(n).split("/") for n in (1, 2))
    if {int(first[1]), int(last[1])} <= {2, 3, 4, 8, 16}:
        return None
    if not all(1 <= int(m) <= 12 and 1 <= int(d) <= 31 for m, d in (first, last)):
        return None
    return " to ".join(_day_of(None, int(m) - 1, d) for m, d in (first, last))


def _century(match: re.Match) -> str | None:
    before = word_before(match.string, match.start())
    if not re.fullmatch(r"\d{1,2}(?:st|nd|rd|th)", before):
        return None
    after = word_after(match.string, match.end())
    is_era = after in ("BC", "AD", "BCE", "CE", "B", "A")
    return "century" + ("" if is_era else stop_after(match, "."))


def _decade(match: re.Match) -> str | None:
    short, long = match.group("short"), match.group("long")
    if short or len(long) == 2:
        number = int(short or long)
        if short == "00":
            return "two thousands"
        return None if number < 20 else plural_words(number_words(number))
    number = int(long)
    if len(long) == 3 or number % 1000 == 0:
        return plural_words(number_words(number)).removeprefix("one ")
    century, rest = divmod(number, 100)
    last = plural_words(number_words(rest)) if rest else "hundreds"
    return f"{number_words(century)} {last}"


def _short_year(match: re.Match) -> str | None:
    if match.start() and match.string[match.start() - 1].isalnum():
        return None
    year = int(match.group(1))
    return f"oh {number_words(year)}" if year < 10 else number_words(year)


def _decade_at(match: re.Match) -> str | None:
    if match.start() and match.string[match.start() - 1].isalnum():
        return None
    return _decade(match)


def _era(match: re.Match) -> str:
    era = " ".join(c for c in match.group("era") if c.isalpha())
    year = match.group("year").replace(",", "")
    words = _era_year(year)
    if match.group("year2"):
        words += f" to {_era_year(match.group('year2'))}"
    return f"{words} {era}" + stop_after(match, "." if match.group().endswith(".") else None)


def _era_year(text: str) -> str:
    year = int(text)
    return year_words(year) if 1100 <= year < 2100 else number_words(year)


def _ad(match: re.Match) -> str:
    return f"A D {_era_year(match.group('year'))}"


def _years(match: re.Match) -> str | None:
    first, last = match.group("first"), match.group("last")
    if len(last) == 2:
        if int(last) <= int(first) % 100:
            return None
        oh = "oh " if last.startswith("0") else ""
        return f"{_year(first)} to {oh}{number_words(int(last))}"
    if not 1100 <= int(last) < 2100 or int(last) <= int(first):
        return None
    return f"{_year(first)} to {_year(last)}"


def _bare(match: re.Match) -> str | None:
    text, year = match.string, int(match.group("year"))
    before = word_before(text, match.start()).lower()
    after = word_after(text, match.end())
    counts = after in _PLURALS or (
        len(after) > 3 and after.islower() and after.endswith("s") and after not in _SINGULAR
    )
    if counts and before not in _IN and not match.group("hyphen"):
        return None
    return year_words(year) + (" " if match.group("hyphen") else "")


RULES = (
    ReadingRule(DIGIT, _ISO, _iso, frozenset("-/.")),
    ReadingRule(DIGIT, _SLASHED, _slashed, frozenset("-/.")),
    ReadingRule(DIGIT, _DAYS_APART, _days, frozenset("/")),
    ReadingRule(DIGIT, _BARE_DAY, _bare_day, frozenset("/")),
    ReadingRule("c", _CENTURY, _century),
    ReadingRule(DIGIT, _DAY_MONTH, _day_month, frozenset("JFMASOND")),
    ReadingRule(LETTER, _MONTH_DAY, _month_day),
    ReadingRule(LETTER, _MONTH_YEAR, _month_year),
    ReadingRule(LETTER, _SPAN, _span, frozenset("-–—")),
    ReadingRule(" -–—", _TO, _to),
    ReadingRule(LETTER, _MONTH_ALONE, _month_alone),
    ReadingRule(LETTER, _WEEKDAY, _weekday),
    ReadingRule("'’‘", _DECADE, _decade_at),
    ReadingRule("'’‘", _SHORT_YEAR, _short_year),
    ReadingRule(DIGIT, _DECADE, _decade, frozenset("s")),
    ReadingRule(DIGIT, _ERA, _era, frozenset("BCA")),
    ReadingRule(LETTER, _AD, _ad),
    ReadingRule(DIGIT, _YEARS, _years, frozenset("-–—/")),
)
BARE_YEARS = (ReadingRule(DIGIT, _BARE, _bare),)
