"""Leftovers of writing out a text in a language other than English, to be named in a warning."""

from __future__ import annotations

import re
import unicodedata

# Acronyms and Roman numerals; then abbreviations in the middle of a sentence.
_CAPITALS = re.compile(r"(?<![^\W_])[^\W\d_]{2,6}(?![^\W_])")
_SHORT = re.compile(
    r"(?<![^\W_])(?:[^\W\d_]\.){2,4}|(?<![^\W_])[b-df-hj-np-tv-xzB-DF-HJ-NP-TV-XZ]{1,5}\.(?=\s[a-zß-öø-ÿ])"
)
_SIGNS = frozenset("@#%§‰")
_KINDS = frozenset(["Sm", "Sc", "So", "No"])
_WORD = re.compile(r"[^\W_]+")


def as_they_stand(text: str) -> tuple[str, ...]:
    """Acronyms, numerals, abbreviations and signs that are still in a text, each once."""
    leftovers = dict.fromkeys(match.group() for match in _SHORT.finditer(text))
    capitals = [word.group() for word in _CAPITALS.finditer(text) if word.group().isupper()]
    # In a text all in capitals, capitals do not mark acronyms.
    if len(capitals) * 2 <= len(_CAPITALS.findall(text)) + 1:
        leftovers |= dict.fromkeys(capitals)
    leftovers |= dict.fromkeys(word for word in _WORD.findall(text) if re.search(r"\d", word))
    for one in dict.fromkeys(text):
        if one in _SIGNS or unicodedata.category(one) in _KINDS:
            leftovers[one] = None
    return tuple(leftovers)
