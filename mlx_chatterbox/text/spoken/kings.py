"""Roman numerals of kings, centuries and chapters in European languages, and German ordinals."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .european_words import Words
from .reader import word_after, word_before
from .roman import value_of

if TYPE_CHECKING:
    from .spelling import Spelling

ROMAN = re.compile(
    r"(?P<roman>[IVXLCDM]{1,9})(?P<rest>(?<=[IVX])(?:er|[eè]?re|[eè]me|e))?(?P<stop>\.)?(?![^\W_])"
)
# Of German ordinals, the ending by the word before; without one, by the noun after.
_STRONG_N = frozenset(
    "am im zum zur vom beim dem den des einem einer diesem diesen jedem jeden ab seit bis "
    "unserem ihrem seinem meinem ihrer seiner meiner unserer".split()
)
_WEAK = frozenset("der die das eine diese dieser dieses jeder jede jedes ihre seine meine".split())
_NOUNS = {
    "s": "Kapitel Buch Jahrhundert Mal Semester Gebot Spiel Tor Viertel Halbjahr",
    "r": "Teil Akt Stock Platz FC Band Tag Weltkrieg Advent Versuch Preis Vorsitzender",
    "": "Szene Auflage Klasse Liga Bundesliga Etage Staffel Folge Runde Halbzeit Frau",
}
_BY_NOUN = {noun: ending for ending, nouns in _NOUNS.items() for noun in nouns.split()}


def german_ordinal(before: str, after: str = "") -> str | None:
    """CLDR's rules for a German ordinal between two words; None where its ending is open."""
    before = before.lower()
    if before in _STRONG_N:
        return "spellout-ordinal-n"
    if before in _WEAK:
        return "spellout-ordinal"
    ending = _BY_NOUN.get(after)
    if ending is None:
        return None
    return f"spellout-ordinal-{ending}" if ending else "spellout-ordinal"


class Kings:
    """Writes the Roman numerals of one language in words."""

    def __init__(self, spelling: Spelling, words: Words):
        self._spelling, self._words = spelling, words

    def say(self, match: re.Match) -> str | None:
        """Write a numeral, with the full stop that ends its sentence; None if it is not one."""
        number, rest, stop = (
            value_of(match.group("roman")),
            match.group("rest"),
            match.group("stop"),
        )
        if number is None or (rest and self._spelling.code not in ("fr", "nl")):
            return None
        text = match.string
        before, after = word_before(text, match.start()), word_after(text, match.end())
        feminine = after in self._words.after_roman[1]
        end = "." if stop and not text[match.end() :].strip() else ""
        if rest:
            ordinal = self._ordinal(number, feminine or rest in ("re", "ère"))
            is_ordinal = rest == "er" or len(match.group("roman")) > 1
            is_ordinal = is_ordinal or any(after in words for words in self._words.after_roman)
            return ordinal + (stop or "") if is_ordinal else None
        headings = (self._words.headings, self._words.numbered)
        if any(before.lower() in words or before in words for words in headings):
            return self._spelling.whole(number) + (stop or "")
        if self._spelling.code == "de" and stop and (rules := german_ordinal(before)):
            return self._spelling.whole(number, rules) if after else None
        if self._spelling.code not in ("de", "fr") and (
            feminine or after in self._words.after_roman[0]
        ):
            return self._ordinal(number, feminine)
        if stop and len(match.group("roman")) == 1 and after[:1].isupper():
            return None  # an initial
        king = self._king(number, match.group("roman"), before)
        if king is None:
            return None
        return king + (end if self._spelling.code == "de" else stop or "")

    def _ordinal(self, number: int, feminine: bool) -> str:
        gender = "-feminine" if feminine else "-masculine"
        return self._spelling.whole(
            number, "spellout-ordinal" + ("" if self._spelling.code == "nl" else gender)
        )

    def _king(self, number: int, roman: str, before: str) -> str | None:
        words = self._words
        is_queen = before in words.queens
        of_king = (
            self._spelling.code == "de" and before.endswith("s") and before[:-1] in words.kings
        )
        if roman in ("C", "D", "L", "M") or not (is_queen or of_king or before in words.kings):
            return None
        if number > words.ordinals_to:
            return self._spelling.whole(number)
        if self._spelling.code == "de":
            ordinal = self._spelling.whole(number, "spellout-ordinal" + ("-n" if of_king else ""))
            return ("des " if of_king else words.the[is_queen]) + ordinal.capitalize()
        return words.the[is_queen] + self._ordinal(number, is_queen)
