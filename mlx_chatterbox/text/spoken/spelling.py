"""Numbers, units and currencies in languages other than English, by CLDR's data.

Cardinals, ordinals where they are written as such, decimals with the language's own separators,
percentages, sums of money and measures; times as two numbers. Number words come from CLDR's rules
by `unicode-rbnf`; names of units and currencies, with their plurals, are CLDR's too (`names.json`).
Genders and cases beyond those of a rule set are not known: the form used in counting serves.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator, Sequence
from decimal import Decimal
from functools import lru_cache, partial
from pathlib import Path

from .european_words import WORDS, Words
from .genders import counting_rules
from .language_words import OWN_UNITS, Language
from .reader import DIGIT, LETTER, ReadingRule, Say, word_after, word_before
from .signs import RULES as TAGS

_MOST_DIGITS = 15


_SPACES = "\u00a0\u2009\u202f"
_FEMININE = "spellout-cardinal-feminine"
_HOURS_FEMININE = ("fr", "es", "it", "pt")
_UNSPACED = ("zh", "ja")
# No space between a number and the word after it.
CLOSE = (*_UNSPACED, "ko")
_YEARS_APART = ("de", "nl", "sv", "da", "no")


_TELEPHONE = (
    r"(?P<plus>\+)?(?P<low>\d{2,5}(?:[ -]\d{2,5}){2,5}|0\d{4,14}"
    r"|0\d{1,4}[ /-]\d{3,9}(?:[ -]\d{1,9}){0,3}|(?<=\+)\d{1,3}(?:[ -]\d{1,9}){1,5})(?!\d)"
)
_DATE = r"(?P<day>[0-3]?\d)(?P<sign>[./-])(?P<month>[01]?\d)(?P=sign)(?P<year>\d{4})(?![\d./-]?\d)"
_ISO = r"(?P<year>[12]\d{3})[-/.](?P<month>[01]?\d)[-/.](?P<day>[0-3]?\d)(?![\d./-]?\d)"
# Letters and digits in one word: H2O, H₂O, A320, COVID-19.
_CODE = r"[A-Za-z]{1,8}(?:-?[\d₀-₉]{1,6}[A-Za-z]{0,4}){1,4}(?![^\W_])"
# Two months have names that differ from their numbers.
_KOREAN_MONTHS = {6: "유", 10: "시"}
_CLOCK = (
    r"(?P<hour>[01]?\d|2[0-4])(?::|h(?=\d))(?P<minute>[0-5]\d)(?![\d:])"
    r"(?:\s?(?P<clock>Uhr|uur|h)\b)?"
)
_YEAR = r"(?P<year>1[1-9]\d\d|20\d\d)(?P<cjk>[年년])?"


@lru_cache(maxsize=1)
def _names() -> dict[str, dict]:
    path = Path(__file__).with_name("names.json")
    return json.loads(path.read_text(encoding="utf-8"))


def _forms(both: str, counted: bool) -> dict[str, str]:
    """Singular and plural in CLDR's form; `counted`: with a place for the number."""
    one, _, many = both.partition("/")
    place = "{0} " if counted else ""
    return {"one": place + one, "other": place + (many or one)}


class Spelling:
    """Words for the numbers of one language."""

    def __init__(self, code: str, language: Language):
        # Needed by few, and 0.1 s.
        from unicode_rbnf import RbnfEngine

        self.code, self._of = code, language
        self._engine = RbnfEngine.for_language(code)
        names = _names().get(code, {})
        self._units, self.money = dict(names.get("units", {})), dict(names.get("money", {}))
        own = OWN_UNITS.get(code, {})
        self._units |= {
            mark: self._units[unit] for mark, unit in own.items() if unit in self._units
        }
        self._more = WORDS.get(code, Words(()))
        for table, more in ((self._units, self._more.units), (self.money, self._more.money)):
            table |= {mark: _forms(both, table is self._units) for mark, both in more.items()}
        self._months = names.get("months", [])
        self.counting, self.minus, self.to = language.counting, language.minus, language.to
        self.number = self._number()
        # Signs of money, and with which characters they begin.
        self.money_signs = "|".join(sorted(map(re.escape, self.money), key=len, reverse=True))
        self.money_starts = "".join(dict.fromkeys(sign[0] for sign in self.money))
        self._gap = "" if code in _UNSPACED else " "

    # Words.

    def whole(self, number: int, rules: str | None = None) -> str:
        """A whole number in words, by a rule set; by default, the one for a number alone."""
        rules = rules or self._of.alone
        words = "".join(self._engine.iter_format_number(number, rules)).replace("\u00ad", "")
        if self.code in _UNSPACED:
            return words.replace("〇", "零" if self.code == "zh" else "ゼロ")
        return " ".join(words.replace(",", "").split())

    def digits(self, text: str) -> str:
        """Digits one by one, in words."""
        return self._gap.join(self.whole(int(digit), self._of.alone) for digit in text)

    def words(self, text: str, rules: str | None = None) -> str:
        """A number as written, with separators, in words."""
        whole, decimals = self._parts(text)
        if len(whole) > _MOST_DIGITS or (len(whole) > 1 and int(whole[0]) == 0):
            words = self.digits(whole)
        else:
            words = self.whole(
                int(whole or 0), self._of.alone if decimals else rules or self._of.alone
            )
        if decimals:
            words = self._gap.join([words, self._of.point, self.digits(decimals)])
        return words

    def _parts(self, text: str) -> tuple[str, str]:
        """The digits before and after the decimal mark."""
        text = re.sub(rf"[\s{_SPACES}'’]", "", text)
        marks = [mark for mark in text if not mark.isdecimal()]
        last = marks[-1] if marks else ""
        groups = re.split(r"\D", text)
        is_grouped = len(groups) > 1 and all(len(group) == 3 for group in groups[1:])
        # A mark that occurs twice separates groups, as do others where groups have three digits.
        if not marks or len(set(marks)) == 1 < len(marks):
            return "".join(groups), ""
        if len(set(marks)) == 1 and is_grouped and last not in self._of.decimal:
            return "".join(groups), ""
        whole, _, decimals = text.rpartition(last)
        return re.sub(r"\D", "", whole), decimals

    def counted(self, text: str, forms: dict[str, str]) -> str:
        """A number with the counted thing in the form that agrees."""
        from unicode_rbnf.plural_rules import get_plural_category

        whole, decimals = self._parts(text)
        # The last digits decide which form agrees; the library for it cannot take long numbers.
        if len(whole) > _MOST_DIGITS:
            whole = f"1{whole[-_MOST_DIGITS:]}"
        decimals = decimals[:_MOST_DIGITS]
        number = Decimal(f"{whole or 0}.{decimals}") if decimals else int(whole or 0)
        form = forms.get(get_plural_category(self.code, number)) or forms["other"]
        if "{0}" not in form:
            return form if form is not forms["other"] else f"{self.words(text)}{self._gap}{form}"
        named = forms.get("one", form).replace("{0}", "").split()
        is_feminine = bool(named) and named[0] in self._more.feminine
        rules = _FEMININE if is_feminine else self.counting
        return form.replace("{0}", self.words(text, rules)).strip()

    def year(self, number: int) -> str:
        """A year in words."""
        rules = "spellout-numbering-year"
        if self.code not in _YEARS_APART or rules not in self._engine.rulesets:
            rules = self._of.alone
        return self.whole(number, rules)

    def time(self, hour: int, minute: int) -> str:
        """A time of day in words."""
        rules = self.counting if self._of.hour else self._of.alone
        words = self.whole(hour, _FEMININE if self.code in _HOURS_FEMININE else rules)
        word = self._of.hour
        if word == "heures" and hour < 2:
            words, word = {0: "zéro", 1: "une"}[hour], "heure"
        return " ".join(filter(None, [words, word, self.whole(minute) if minute else ""]))

    # Rules.

    def _number(self) -> str:
        """The pattern of a number."""
        group = re.escape(self._of.group + "'’") + _SPACES
        return (
            rf"(?:\d{{1,3}}(?:[{group}]\d{{3}}){{1,11}}(?!\d)(?:[{self._of.decimal}]\d{{1,15}})?"
            rf"|\d{{1,3}}(?:\.\d{{3}}){{2,11}}(?!\d)|\d{{1,3}}(?: \d{{3}}){{1,4}}(?! ?\d)"
            rf"|\d{{1,2}}(?:,\d\d){{1,6}},\d{{3}}(?!\d)|\d{{1,36}}(?:[.,{self._of.decimal}]\d{{1,15}})?)"
        )

    def rules(self, own: Sequence[ReadingRule]) -> tuple[ReadingRule, ...]:
        """Return the rules in the order in which they are tried.

        Args:
            own: rules of this language alone.
        """
        number, money = self.number, self.money_signs
        sign = r"(?P<minus>(?<![\w)])[-−–](?=\d))?"
        units = "|".join(sorted(map(re.escape, self._units), key=len, reverse=True))
        many = rf"(?P<low>{number})(?:\s?[-–—]\s?(?P<high>{number}))?"
        # Chinese, Japanese and Korean write on after a number.
        end = r"(?![A-Za-z\d])" if self.code in CLOSE else r"(?![^\W_])"
        starts = DIGIT + "-−–"
        signs = self.money_starts
        table = (
            (DIGIT, r"(?P<low>\d{37,})", lambda match: self.digits(match.group("low"))),
            (DIGIT, _ISO, self._say_date),
            (DIGIT, _DATE, self._say_date),
            (DIGIT + "+", _TELEPHONE, self._say_digits),
            (signs, rf"(?P<minus>(?!))?(?P<sign>{money})\s?{many}", self._say_money),
            (starts, rf"{sign}{many}\s?(?P<sign>{money}){end}", self._say_money),
            (starts, rf"{sign}{many}\s?(?P<unit>{units}){end}", self._say_unit),
            (DIGIT, _CLOCK, self._say_time),
            *self._ordinals(),
            (DIGIT, rf"{_YEAR}{end}(?![%°]|[.,:]\d)", self._say_year),
            (starts, rf"{sign}{many}", self._say_number),
            ("%٪", rf"[%٪]\s?(?P<low>{number})", self._say_percent),
            (LETTER, _CODE, self._say_code),
            ("&", "&", lambda match: self._of.ampersand or None),
        )
        common = [ReadingRule(starts, re.compile(pattern), say) for starts, pattern, say in table]
        return (*TAGS[:1], *own, *common)

    def _ordinals(self) -> Iterator[tuple[str, str, Say]]:
        for marks, rules in self._of.ordinals:
            pattern = rf"(?P<low>\d{{1,9}})\.?(?:{marks})(?![^\W_])"
            yield DIGIT, pattern, partial(self._ordinal, rules=rules)
        if self._months:
            months = "|".join(map(re.escape, self._months))
            rules = {
                "de": "spellout-ordinal-n", "da": "spellout-ordinal-common",
                "no": "spellout-ordinal-masculine", "fi": "spellout-ordinal",
            }[self.code]  # fmt: skip
            pattern = rf"(?P<low>[0-3]?\d)\.(?=\s(?:{months})\b)"
            yield DIGIT, pattern, partial(self._ordinal, rules=rules)

    def _ordinal(self, match: re.Match, rules: str) -> str | None:
        if rules not in self._engine.rulesets:
            return None
        if match.group().endswith("°") and int(match.group("low")) >= 20:
            return None  # an angle
        before = match.string[max(0, match.start() - 4) : match.start()].lower()
        if rules == "spellout-ordinal-n" and before.endswith("der "):
            rules = "spellout-ordinal"
        return self.whole(int(match.group("low")), rules)

    def _say_digits(self, match: re.Match) -> str | None:
        groups = re.findall(r"\d+", match.group("low"))
        if sum(map(len, groups)) < 7 and not match.group("low").startswith("0"):
            return None
        plus = self._more.maths.get("+") if match.group("plus") else None
        return f"{plus} " * bool(plus) + ", ".join(map(self.digits, groups))

    def _say_date(self, match: re.Match) -> str | None:
        """A date in figures; the six languages with tables have rules of their own for it."""
        year, month, day = (int(match.group(part)) for part in ("year", "month", "day"))
        if not (1 <= month <= 12 and 1 <= day <= 31):
            return None
        if self.code == "zh":
            return f"{self.digits(match.group('year'))}年{self.whole(month)}月{self.whole(day)}日"
        if self.code == "ja":
            return f"{self.whole(year)}年{self.whole(month)}月{self.whole(day)}日"
        if self.code == "ko":
            words = _KOREAN_MONTHS.get(month) or self.whole(month)
            return f"{self.whole(year)}년 {words}월 {self.whole(day)}일"
        is_iso = match.start("year") < match.start("day")
        parts = (year, month, day) if is_iso else (day, month, year)
        return ", ".join(self.year(part) if part == year else self.whole(part) for part in parts)

    def _say_code(self, match: re.Match) -> str:
        parts = re.findall(r"[A-Za-z]+|\d+", unicodedata.normalize("NFKD", match.group()))
        return " ".join(
            part if part.isalpha() else self.words(part) if len(part) < 4 else self.digits(part)
            for part in parts
        )

    def _both(self, match: re.Match) -> str:
        """The lower end of a range, and the word between; "" where there is no range."""
        if not match.group("high"):
            return ""
        to = f" {self._of.to} " if self._of.to and self._gap else self._of.to or " – "
        return self.words(match.group("low")) + to

    def _signed(self, match: re.Match, words: str) -> str:
        negative = match.groupdict().get("minus")
        return f"{self._of.minus}{self._gap}{words}" if negative else words

    def _say_money(self, match: re.Match) -> str:
        number = match.group("high") or match.group("low")
        forms = self.money[match.group("sign")]
        whole, decimals = self._parts(number)
        if len(decimals) == 2:
            # 3,50 €: three euros fifty.
            cents = self._more.cents.get(match.group("sign"))
            if not int(whole or 0) and int(decimals) and cents:
                words = self.counted(str(int(decimals)), _forms(cents, True))
                return self._signed(match, self._both(match) + words)
            words = self._with_name(whole or "0", forms)
            if int(decimals):
                words += f"{self._more.and_cents}{self.words(str(int(decimals)))}"
        else:
            words = self._with_name(number, forms)
        return self._signed(match, self._both(match) + words)

    def _with_name(self, number: str, forms: dict[str, str]) -> str:
        pattern = {name: f"{{0}}{self._gap}{form}" for name, form in forms.items()}
        return self.counted(number, pattern)

    def _say_unit(self, match: re.Match) -> str | None:
        number, unit = match.group("high") or match.group("low"), match.group("unit")
        if (
            unit == "°"
            and self.code in _HOURS_FEMININE[1:]
            and number.isdecimal()
            and int(number) < 20
        ):
            return None  # primo
        words = self.counted(number, self._units[unit])
        ends = unit.endswith(".") and not match.string[match.end() :].strip()
        return self._signed(match, self._both(match) + words) + ("." if ends else "")

    def _say_percent(self, match: re.Match) -> str | None:
        """Read a percentage with the sign before it, as in Turkish: %50."""
        return self.counted(match.group("low"), self._units["%"]) if "%" in self._units else None

    def _say_time(self, match: re.Match) -> str:
        return self.time(int(match.group("hour")), int(match.group("minute")))

    def _say_year(self, match: re.Match) -> str:
        if match.group("cjk"):
            if self.code == "zh":
                return self.digits(match.group("year")) + match.group("cjk")
            return self.whole(int(match.group("year")), self._of.alone) + match.group("cjk")
        return self.year(int(match.group("year")))

    def _say_number(self, match: re.Match) -> str:
        number = match.group("high") or match.group("low")
        before = word_before(match.string, match.start())
        rules = counting_rules(self.code, before, word_after(match.string, match.end()))
        return self._signed(match, self._both(match) + self.words(number, rules))
