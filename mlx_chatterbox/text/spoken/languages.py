"""The rules of languages other than English: common ones, with tables for each language."""

from __future__ import annotations

from functools import lru_cache

from .european import european_rules
from .language_words import LANGUAGES
from .reader import RuleReader
from .spelling import CLOSE, Spelling


@lru_cache(maxsize=32)
def reader_for(code: str) -> RuleReader | None:
    """The rules of a language; None if there are none."""
    if code not in LANGUAGES:
        return None
    spelling = Spelling(code, LANGUAGES[code])
    return RuleReader(spelling.rules(european_rules(spelling)), spaced=code not in CLOSE)
