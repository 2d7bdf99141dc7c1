"""The rules of a language other than English: those of all languages, and its own tables."""

from __future__ import annotations

from functools import lru_cache

from .european import rules_of
from .language_words import LANGUAGES
from .reader import Reader
from .spelling import CLOSE, Spelling


@lru_cache(maxsize=32)
def reader_for(code: str) -> Reader | None:
    """The rules of a language; None if there are none."""
    if code not in LANGUAGES:
        return None
    spelling = Spelling(code, LANGUAGES[code])
    return Reader(spelling.rules(rules_of(spelling)), spaced=code not in CLOSE)
