"""Abbreviated headings before Roman numerals: Ch. IV, Vols. I and II, Sc. ii, pp. iv-vi."""

from __future__ import annotations

import re

from .numbers import number_words
from .reader import LETTER, ReadingRule, word_after
from .roman import JOINT, PART, PRONOUN, value_of

# With a capital or without, and in the plural with an s.
_HEADINGS = {
    "ch": "chapter", "chap": "chapter", "cap": "chapter", "vol": "volume", "bk": "book",
    "pt": "part", "fig": "figure", "no": "number", "sec": "section", "sect": "section",
    "art": "article", "op": "opus", "tab": "table", "pl": "plate", "app": "appendix",
    "sc": "scene", "lect": "lecture", "ps": "psalm", "para": "paragraph", "par": "paragraph",
    "ep": "episode", "div": "division", "cl": "clause", "reg": "regulation", "sched": "schedule",
    "tit": "title", "st": "stanza", "can": "canto", "eq": "equation", "ser": "series",
    "ex": "exercise", "thm": "theorem", "amend": "amendment", "ann": "annex", "p": "page",
    "pp": "page", "pg": "page", "stg": "stage", "suppl": "supplement", "prop": "proposition",
}  # fmt: skip
_PLURALS = {"appendix": "appendices", "series": "series", "annex": "annexes"}
# Words that also end sentences, so that a single letter after them is not a numeral.
_WORDS = frozenset("no art app cap op pl tab par para can tit ex ann prop st reg div ser".split())
# After these a single I is a numeral.
_BEFORE_ONE = frozenset("ch chap vol bk pt sc ep sect lect".split())
# An IV is a drip as well.
_DRIPS = frozenset(
    "fluid fluids drip drips line lines bag bags pole therapy antibiotics drug".split()
)
_NO_NUMERALS = frozenset("MIX DIM DI MI LI MD CD DC CV CIVIC DVD MIC CIV MM CC XL".split())
_BEGIN = "|".join(sorted(_HEADINGS, key=len, reverse=True))
_DASH = r" ?[-–—‑] ?"
_END = r"(?![\w'’])"


def _numerals(letters: str) -> str:
    """A pattern for a numeral, a range of two, and, after a heading in the plural, a list."""
    one = f"[{letters}]{{1,9}}"
    return rf"{one}{_END}(?:(?(many){JOINT}|{_DASH}){one}{_END}){{0,9}}"


_HEADING = re.compile(
    rf"(?:(?P<word>(?i:{_BEGIN}))(?P<many>s)?|(?P<pages>pp))\.[ \u00a0]?"
    rf"(?P<all>{_numerals('IVXLCDM')}|{_numerals('ivxlc')})"
)


def _heading(match: re.Match) -> str | None:
    text, numerals = match.string, PART.findall(match.group("all"))
    word, first = (match.group("word") or "p").lower(), numerals[0][0]
    is_many = bool(match.group("many") or match.group("pages"))
    if match.start() and text[match.start() - 1] in ".-'’/":
        return None
    values = [value for one, _ in numerals if (value := value_of(one.upper())) is not None]
    if first in _NO_NUMERALS or len(values) < len(numerals):
        return None
    if word in _WORDS and word_after(text, match.end()) in _DRIPS:
        return None
    if len(first) == 1 and len(numerals) < 2 and not _is_numeral(match, word, first):
        return None
    numbers = "".join(
        number_words(value) + (" to " if joint.strip() in tuple("-–—‑") else joint)
        for value, (_, joint) in zip(values, numerals, strict=True)
    ).replace("&", "and")
    name = _HEADINGS[word]
    if is_many:
        name = _PLURALS.get(name, f"{name}s")
    return f"{name.capitalize() if match.group()[0].isupper() else name} {numbers}"


def _is_numeral(match: re.Match, word: str, letter: str) -> bool:
    """Tell a numeral (Ch. I, No. V) from another single letter (He left no. I did, too)."""
    after = word_after(match.string, match.end())
    if letter in "CDLMcl":
        return False
    if letter in "Ii":
        # "He was a good chap. I left him."
        goes_on = not after.islower() or after in ("of", "is", "and", "has", "contains")
        is_name = match.group()[0].isupper() and word != "chap"
        return word in _BEFORE_ONE and after not in PRONOUN and (goes_on or is_name)
    return word not in _WORDS or (match.group()[0].isupper() and not after[:1].isupper())


RULES = (ReadingRule(LETTER, _HEADING, _heading, frozenset(".")),)
