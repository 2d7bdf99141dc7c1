"""German, French, Spanish, Italian, Portuguese and Dutch: dates, abbreviations, fractions, kings.

They supply what CLDR's rules lack, by the tables in `european_words.py`, and are tried before the
rules that every language has (`languages.py`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import TYPE_CHECKING

from .european_words import WORDS, Words
from .kings import ROMAN, Kings, german_ordinal
from .numbers import VULGAR
from .reader import DIGIT, LETTER, ReadingRule, word_after, word_before
from .web import HOST, MAIL, PART, URL

if TYPE_CHECKING:
    from .spelling import Spelling

_RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹⁻"
_MONTH, _DAY = r"(?P<month>1[0-2]|0?[1-9])", r"(?P<day>3[01]|[12]\d|0?[1-9])"
_DATE = re.compile(
    rf"{_DAY}(?P<sign>[./-]){_MONTH}(?P=sign)(?P<year>\d{{4}}|\d\d)(?![\d/-])(?!\.\d)"
)
_ISO = re.compile(rf"(?P<year>[12]\d{{3}})-{_MONTH}-{_DAY}(?![\d-])")
_DAY_MONTH = re.compile(rf"{_DAY}(?P<sign>[./]){_MONTH}(?P<stop>\.)?(?![\d/%°-])(?!\.\d)(?!,\d)")
_CLOCK = re.compile(
    r"(?P<hour>[01]?\d|2[0-4])\.(?P<minute>[0-5]\d)(?:\s?(?P<clock>Uhr|uur)\b)?(?![\d.,])"
)
_FRACTION = re.compile(
    rf"(?:(?P<whole>\d{{1,4}})\s?)?(?P<vulgar>[{VULGAR}])"
    r"|(?:(?P<whole2>\d{1,3}) )?(?P<over>\d{1,2})/(?P<under>\d{1,2})(?![\d/])"
)
_POWER = re.compile(
    rf"(?P<low>\d{{1,15}}(?:[.,]\d{{1,9}})?|[A-Za-z](?=[\^{_RAISED}]))"
    rf"(?:(?P<raised>[{_RAISED}]{{1,4}})|\^(?P<power>[-−]?\d{{1,3}}))(?![\w])"
)
# A score or a ratio, 3:1; a time has two digits after its colon.
_RATIO = re.compile(r"(\d{1,3}):(\d|[6-9]\d|\d{3})(?![\w]|[:.,]\d)")
_VERSION = re.compile(r"\d{1,3}(?:\.\d{1,4}){2,4}(?![\w]|[.,]\d)")
_GERMAN_ORDINAL = re.compile(r"(?P<low>\d{1,3})\.(?=\s[A-ZÄÖÜ][a-zäöüß])")
_GERMAN_TENS = re.compile(r"(?P<low>\d{2,4})er(?P<rest>n)?(?![^\W_])")
_GERMAN_STREET = re.compile(r"(?P<name>[A-ZÄÖÜ][^\W\d_]{1,30})str\.")
_ONE_OCLOCK = re.compile(r"1(?=\sUhr\b)")
_FRENCH_PHONE = re.compile(r"0\d(?:[ .]\d\d){4}(?![\w]|[ .]\d)")
# Abbreviations that are words, or other letters, unless a name follows.
_BEFORE_NAMES = frozenset(
    "M. MM. D. Fr. St. Hr. Dr Pr av. bd on. ing. mr. ds. ir. Av. Avda.".split()
)
# Large numbers that are abbreviated like this only before a sum.
_WITH_MONEY = frozenset(
    "M k mi bi mil millones millón milhões milhão bilhões bilhão milioni milione miliardi miliardo "
    "millions million milliards milliard miljoen miljard".split()
)
_PREFIXED = "+~<>±≈≤≥"


def european_rules(spelling: Spelling) -> tuple[ReadingRule, ...]:
    """The additional rules of one of these languages; none for others."""
    if spelling.code not in WORDS:
        return ()
    return tuple(_European(spelling, WORDS[spelling.code]).rules())


def _choice(keys) -> str:
    """A pattern for any of some abbreviations; a space within one may be missing."""
    parts = (re.escape(key).replace(r"\ ", r"\s?") for key in sorted(keys, key=len, reverse=True))
    return "|".join(parts)


class _European:
    """The rules of one language."""

    def __init__(self, spelling: Spelling, words: Words):
        self._spelling, self._words, self._code = spelling, words, spelling.code
        self._short_of = {key.replace(" ", ""): spoken for key, spoken in words.short.items()}
        self._last_of = {key.replace(" ", ""): spoken for key, spoken in words.last.items()}

    def rules(self) -> Iterator[ReadingRule]:
        """Return the rules in the order in which they are tried."""
        words, code = self._words, self._code
        yield ReadingRule(LETTER, URL, self._url)
        yield ReadingRule(LETTER + DIGIT, MAIL, self._mail)
        yield ReadingRule(
            LETTER + DIGIT, re.compile(rf"{HOST}(?:com|org|net|{code})\b(?![\w@])"), self._host
        )
        yield ReadingRule(DIGIT, _DATE, self._date)
        yield ReadingRule(DIGIT, _ISO, self._date)
        yield ReadingRule(DIGIT, _DAY_MONTH, self._day_month)
        if words.first:
            months = "|".join(words.months)
            yield ReadingRule(
                "1", re.compile(rf"1(?=°? ?(?:de )?(?:{months})\b)"), lambda match: words.first
            )
        yield from self._of_code()
        if words.times:
            yield ReadingRule(DIGIT, _CLOCK, self._time)
        yield ReadingRule(DIGIT, _VERSION, self._version)
        yield ReadingRule(DIGIT, _RATIO, self._ratio)
        yield ReadingRule(DIGIT + VULGAR, _FRACTION, self._fraction)
        yield ReadingRule(DIGIT + LETTER, _POWER, self._power)
        yield from self._sums()
        last = rf"(?P<short>{_choice(words.last)})(?![^\W_])"
        short = rf"(?P<short>{_choice(words.short)})(?![^\W_])"
        numbered = rf"(?P<short>{_choice(words.numbered)})\s?(?=\d|[IVXLC]+\b)"
        yield ReadingRule(
            LETTER, re.compile(numbered), lambda match: words.numbered[match.group("short")] + " "
        )
        yield ReadingRule(LETTER, re.compile(last), self._last)
        yield ReadingRule(LETTER, re.compile(short), self._short)
        yield ReadingRule("IVXLCDM", ROMAN, Kings(self._spelling, words).say)
        yield ReadingRule("§", re.compile(r"§§?\s?"), self._section)
        signs = "".join(re.escape(sign) for sign in words.maths)
        yield ReadingRule("".join(words.maths), re.compile(rf"(?P<sign>[{signs}])\s?"), self._sign)
        yield ReadingRule("/", re.compile(r"/(?=[^\W_])"), self._slash)

    def _of_code(self) -> Iterator[ReadingRule]:
        if self._code == "de":
            yield ReadingRule(DIGIT, _GERMAN_ORDINAL, self._german_ordinal)
            yield ReadingRule(DIGIT, _GERMAN_TENS, self._german_tens)
            yield ReadingRule("1", _ONE_OCLOCK, lambda match: "ein")
            yield ReadingRule(LETTER, _GERMAN_STREET, lambda match: f"{match.group('name')}straße")
        elif self._code == "fr":
            yield ReadingRule("0", _FRENCH_PHONE, self._french_phone)

    def _sums(self) -> Iterator[ReadingRule]:
        """A rule for abbreviated large numbers, with a currency or without."""
        number, money = self._spelling.number, self._spelling.money_signs
        sizes = _choice(self._words.sizes)
        alone = _choice(set(self._words.sizes) - _WITH_MONEY)
        size, end = rf"(?P<low>{number})\s?(?P<size>{sizes})", r"(?![^\W_])"
        of = r"(?:\s(?:de|di)|\sd['’])?"
        after = rf"{size}{of}\s?(?P<sign>{money}){end}"
        yield ReadingRule(DIGIT, re.compile(after), self._sum)
        before = rf"(?P<sign>{money})\s?{size}{end}"
        yield ReadingRule(self._spelling.money_starts, re.compile(before), self._sum)
        if alone:
            bare = rf"(?P<low>{number})\s?(?P<size>{alone}){end}(?P<sign>)"
            yield ReadingRule(DIGIT, re.compile(bare), self._sum)
        yield ReadingRule("€$£¥", re.compile(r"(?P<sign>[€$£¥])(?!\s?\d)"), self._sign_alone)

    # Dates and times.

    def _day(self, day: int, before: str) -> str:
        spell = self._spelling.whole
        if self._code == "de":
            return spell(day, german_ordinal(before) or "spellout-ordinal-r")
        return self._words.first if day == 1 and self._words.first else spell(day)

    def _date_words(self, match: re.Match, year: str | None) -> str:
        before = word_before(match.string, match.start())
        parts = [
            self._day(int(match.group("day")), before),
            self._words.months[int(match.group("month")) - 1],
        ]
        if year:
            year = year if len(year) == 4 else ("20" if int(year) < 50 else "19") + year
            parts.append(self._spelling.year(int(year)))
        return (self._words.of or " ").join(parts)

    def _date(self, match: re.Match) -> str | None:
        year = match.group("year")
        if len(year) == 2 and len(match.group()) < 8:
            return None  # a version
        return self._date_words(match, year)

    def _day_month(self, match: re.Match) -> str | None:
        sign, stop = match.group("sign"), match.group("stop")
        if word_before(match.string, match.start()).lower() not in self._words.dated:
            return None
        if (sign == ".") != (self._code == "de") or (self._code == "de" and not stop):
            return None
        if sign != "." and len(match.group()) < 4:
            return None  # a fraction
        ends = not match.string[match.end() :].strip() or (stop and sign != ".")
        return self._date_words(match, None) + ("." if stop and ends else "")

    def _time(self, match: re.Match) -> str | None:
        before = word_before(match.string, match.start()).lower()
        if not match.group("clock") and before not in self._words.times:
            return None
        return self._spelling.time(int(match.group("hour")), int(match.group("minute")))

    # Numbers.

    def _version(self, match: re.Match) -> str | None:
        parts = match.group().split(".")
        if all(len(part) == 3 for part in parts[1:]):
            return None
        point = f" {self._words.address['.']} "
        return point.join(self._spelling.words(part) for part in parts)

    def _ratio(self, match: re.Match) -> str:
        to = {"de": "zu", "nl": "tegen"}.get(self._code, self._spelling.to)
        return f" {to} ".join(map(self._spelling.words, match.groups()))

    def _fraction(self, match: re.Match) -> str | None:
        whole, vulgar = match.group("whole") or match.group("whole2"), match.group("vulgar")
        over, under = match.group("over"), match.group("under")
        if vulgar:
            over, under = unicodedata.normalize("NFKD", vulgar).split("\u2044")
            over = over or "1"
        over, under = int(over), int(under)
        names = self._words.fractions.get(under)
        if (under != 2 and names is None) or not 0 < over < max(under, 2):
            if vulgar or whole:
                return None
            spell = self._spelling.whole
            return f"{spell(over)} {self._words.maths['/']} {spell(under)}"
        part = self._words.half if under == 2 or names is None else self._part(over, names)
        if whole is None:
            return part
        return self._mixed(int(whole), under, part)

    def _part(self, over: int, names: str) -> str:
        one, _, many = names.partition("/")
        count = self._spelling.whole(over, self._spelling.counting)
        return f"{count} {one if over == 1 else many or one}"

    def _mixed(self, whole: int, under: int, part: str) -> str:
        count = self._spelling.whole(whole)
        if under == 2 and self._code == "de":
            return ("ein" if whole == 1 else count) + "einhalb"
        if under == 2 and self._code == "nl":
            return (
                "anderhalf" if whole == 1 else count + ("ënhalf" if count[-1] == "e" else "enhalf")
            )
        if under == 2:
            return count + self._words.and_half
        joint = self._words.and_half.split()[0] + " " if self._words.and_half else ""
        return f"{count} {joint}{part}"

    def _power(self, match: re.Match) -> str | None:
        low, power = match.group("low"), match.group("raised") or match.group("power")
        try:
            power = int(unicodedata.normalize("NFKD", power).replace("−", "-"))
        except ValueError:
            return None
        base = low if low.isalpha() else self._spelling.words(low)
        if power in (2, 3):
            return f"{base} {self._words.squared if power == 2 else self._words.cubed}"
        minus = f"{self._spelling.minus} " if power < 0 else ""
        return f"{base} {self._words.power} {minus}{self._spelling.whole(abs(power))}"

    def _sum(self, match: re.Match) -> str:
        low, size = match.group("low"), match.group("size")
        one, _, many = self._words.sizes[size].partition("/")
        words = self._spelling.counted(low, {"one": f"{{0}} {one}", "other": f"{{0}} {many}"})
        if words.split()[-1] in ("mil", "mille", "Tausend"):
            words = f"{self._spelling.words(low)} {one}"
        if not match.group("sign"):
            ends = size.endswith(".") and not match.string[match.end() :].strip()
            return words + ("." if ends else "")
        names = self._spelling.money[match.group("sign")]["other"]
        of = self._words.of_money
        if of == " d’":
            of = of if names[0] in "aeiouh" else " de "
        return words + (" " if one in ("mil", "mille") else of) + names

    def _sign_alone(self, match: re.Match) -> str | None:
        before = match.string[match.start() - 1 : match.start()]
        if before.isalnum() or match.string[match.end() : match.end() + 1].isalpha():
            return None
        return self._spelling.money[match.group("sign")]["other"]

    def _german_ordinal(self, match: re.Match) -> str | None:
        before = word_before(match.string, match.start())
        rules = german_ordinal(before, word_after(match.string, match.end()))
        return rules and self._spelling.whole(int(match.group("low")), rules)

    def _german_tens(self, match: re.Match) -> str:
        low = match.group("low")
        words = self._spelling.year(int(low)) if len(low) == 4 else self._spelling.whole(int(low))
        return f"{words}er{match.group('rest') or ''}"

    def _french_phone(self, match: re.Match) -> str:
        groups = re.findall(r"\d\d", match.group())
        return ", ".join(self._spelling.words(group) for group in groups)

    # Words.

    def _ends(self, match: re.Match) -> bool:
        """Return True where a full stop that was read ends a sentence, too."""
        rest = match.string[match.end() :][:4].lstrip("\"'”’»)")
        return match.group().endswith(".") and (not rest.strip() or rest.lstrip()[:1].isupper())

    def _last(self, match: re.Match) -> str:
        words = self._last_of[re.sub(r"\s", "", match.group("short"))]
        return words + ("." if self._ends(match) else "")

    def _short(self, match: re.Match) -> str | None:
        short = re.sub(r"\s", "", match.group("short"))
        if short in _BEFORE_NAMES and not word_after(match.string, match.end())[:1].isupper():
            return None
        at_end = short.endswith(".") and not match.string[match.end() :].strip()
        return self._short_of[short] + ("." if at_end else "")

    # Signs.

    def _address(self, text: str) -> str:
        words = []
        for part in PART.findall(text):
            if part.isdecimal():
                words.append(
                    self._spelling.words(part) if len(part) < 3 else self._spelling.digits(part)
                )
            elif part.isalpha():
                is_spelled = part == "www" or (
                    len(part) == 2 and words and text.endswith(f".{part}")
                )
                words.append(" ".join(part) if is_spelled else part)
            else:
                words.append(self._words.address.get(part, ""))
        return " ".join(filter(None, words))

    def _url(self, match: re.Match) -> str:
        bare = match.group("rest").rstrip(".,;:!?'’\"*_")
        return self._address(bare.rstrip("/")) + match.group("rest")[len(bare) :]

    def _mail(self, match: re.Match) -> str:
        return self._address(f"{match.group('name')}@{match.group('host')}")

    def _host(self, match: re.Match) -> str:
        return self._address(match.group())

    def _sign(self, match: re.Match) -> str | None:
        text, sign = match.string, match.group("sign")
        before, after = (
            text[max(0, match.start() - 2) : match.start()],
            text[match.end() : match.end() + 1],
        )
        left = before.rstrip()[-1:]
        spaced = before[-1:].isspace() and match.group()[-1].isspace()
        word = self._words.maths[sign]
        if not (after.isalnum() or after in "(√−-" or after in _RAISED) or not after:
            is_more = sign == "+" and before[-1:].isdigit() and not match.group()[1:]
            return word if is_more or (sign == "+" and before[-1:].isdigit()) else None
        if left.isalnum() or left in ")²³%":
            if not left:
                return self._prefix(sign, word, after)
            digits = left.isdigit() and (after.isdigit() or after in "(−-")
            if sign in "-−":
                is_sum = spaced and digits and re.match(r"[^=\n]{1,20}=", text[match.end() :])
                return f"{word} " if is_sum else None
            if sign in "*/<>~" and not (
                digits if sign != "<" and sign != ">" else spaced or digits
            ):
                return None
            if not spaced and not digits and sign == "+":
                return None
            return f"{word} "
        return self._prefix(sign, word, after)

    def _prefix(self, sign: str, word: str, after: str) -> str | None:
        return f"{word} " if sign in _PREFIXED and after.isdigit() else None

    def _section(self, match: re.Match) -> str:
        follows = match.string[match.end() : match.end() + 1]
        return self._words.sections + (" " if follows.isalnum() else "")

    def _slash(self, match: re.Match) -> str | None:
        """Read a slash between two words: und/oder."""
        before = match.string[match.start() - 1 : match.start()] if match.start() else ""
        return " " if before.isalnum() else None
