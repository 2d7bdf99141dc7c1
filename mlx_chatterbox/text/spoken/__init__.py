"""Writing out: from a text as written to the words to speak. Numbers, times, money, units, names.

`spoken_form` is the one place where text is written out; it is pure, and leaves plain words as they
are, to the byte. English has rules of its own (`english.py`); other languages have what CLDR, the
Unicode consortium's data, knows of them (`languages.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from ..sentence_rules import base_language
from .reader import RuleReader
from .remains import as_they_stand
from .signs import TAG as _TAGS
from .signs import without_marks


@dataclass(frozen=True)
class SpokenForm:
    """A text in words.

    Attributes:
        left_out: characters that have no words, such as emoji, each once.
        as_written: acronyms, numerals, abbreviations and signs that the rules of a language other
            than English have not written out, each once.
    """

    text: str
    left_out: tuple[str, ...] = ()
    as_written: tuple[str, ...] = ()


def spoken_form(text: str, language: str | None = "en") -> SpokenForm:
    """Write a text out in words.

    Args:
        language: a code; in a language without rules the text stays as it is.
    """
    reader = reader_of(language)
    if reader is None:
        return SpokenForm(text)
    bare, left_out = without_marks(text)
    words = reader(bare)
    as_written = () if base_language(language) == "en" else as_they_stand(_TAGS.sub("", words))
    return SpokenForm(words, tuple(left_out), as_written)


@lru_cache(maxsize=64)
def reader_of(language: str | None) -> RuleReader | None:
    """The rules of a language; None if there are none. Read when they are first needed."""
    code = base_language(language)
    if code == "en":
        from .english import READER

        return READER
    if code is None:
        return None
    from .languages import reader_for

    return reader_for(code)
