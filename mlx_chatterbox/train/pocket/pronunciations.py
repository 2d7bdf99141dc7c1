"""The pronouncing dictionary: flite's, for the word list of Debian's package wamerican."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from ...text.lexicon import PHONES, STRESS, write_lexicon
from .synthesisers import check_programs
from .texts import word_list
from .words import DAYS, MONTHS, NAMES, all_words

_WORDS_PER_CALL = 150
# Pronounced as within a sentence, not in isolation.
_WEAK_FORMS = {"a": "ə", "the": "ðə"}


def make_lexicon(path: Path, progress: Callable | None = None) -> None:
    """Write the dictionary, with pronunciations of every word of the list by flite's `t2p`.

    Args:
        progress: callback(stage, done, total).

    Raises:
        DataError: the package flite or wamerican is not installed.
    """
    check_programs()
    words = _word_list()
    lexicon: dict[str, str] = {}
    for first in range(0, len(words), _WORDS_PER_CALL):
        if progress is not None:
            progress("pronunciations", first, len(words))
        some = words[first : first + _WORDS_PER_CALL]
        phones = _pronounce(some)
        if len(phones) != len(some):  # a word is pronounced with a pause within
            phones = [" ".join(_pronounce([word])) for word in some]
        lexicon |= dict(zip(some, phones, strict=True))
    write_lexicon(path, {word: phones for word, phones in lexicon.items() if phones} | _WEAK_FORMS)


def _word_list() -> list[str]:
    # Possessives follow from the word itself.
    kept = {w.lower() for w in word_list() if re.fullmatch(r"[A-Za-z]+('(?!s$)[a-z]+)?", w)}
    kept |= {w.lower() for w in (*DAYS, *MONTHS, *NAMES)} | set(all_words())
    kept |= {"it's", "that's", "what's", "let's", "he's", "she's", "there's", "here's", "who's"}
    return sorted(kept | set("abcdefghijklmnopqrstuvwxyz"))


def _pronounce(words: Sequence[str]) -> list[str]:
    """Return the phones of each word by `t2p`, in characters of `text.lexicon`.

    A word that is pronounced with a pause within yields more than one item.
    """
    done = subprocess.run(["t2p", ", ".join(words)], capture_output=True, text=True, check=True)
    groups = re.split(r"\bpau\b", done.stdout)
    return ["".join(map(_character, group.split())) for group in groups if group.strip()]


def _character(phone: str) -> str:
    bare = phone.rstrip("01")
    return (STRESS if phone.endswith("1") else "") + PHONES[bare]
