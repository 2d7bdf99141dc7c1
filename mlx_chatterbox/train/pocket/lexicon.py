"""The pronouncing dictionary: flite's own, for the word list of Debian's package wamerican."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from ...text.lexicon import PHONES, STRESS, write_lexicon
from .texts import WORD_LIST
from .words import DAYS, MONTHS, NAMES, all_words

_TOGETHER = 150
# As they are said in sentences, not by themselves.
_WEAK = {"a": "ə", "the": "ðə"}


def make_lexicon(path: Path, progress: Callable | None = None) -> None:
    """Ask flite's `t2p` for every word of the list, and write the dictionary."""
    words = _word_list()
    found: dict[str, str] = {}
    for first in range(0, len(words), _TOGETHER):
        if progress is not None:
            progress("pronunciations", first, len(words))
        some = words[first : first + _TOGETHER]
        said = _said(some)
        if len(said) != len(some):  # a word that is said with a pause
            said = [" ".join(_said([word])) for word in some]
        found |= dict(zip(some, said, strict=True))
    write_lexicon(path, {word: said for word, said in found.items() if said} | _WEAK)


def _word_list() -> list[str]:
    listed = WORD_LIST.read_text(encoding="utf-8").split()
    # Possessives follow from the word itself.
    kept = {w.lower() for w in listed if re.fullmatch(r"[A-Za-z]+('(?!s$)[a-z]+)?", w)}
    kept |= {w.lower() for w in (*DAYS, *MONTHS, *NAMES)} | set(all_words())
    kept |= {"it's", "that's", "what's", "let's", "he's", "she's", "there's", "here's", "who's"}
    return sorted(kept | set("abcdefghijklmnopqrstuvwxyz"))


def _said(words: Sequence[str]) -> list[str]:
    done = subprocess.run(["t2p", ", ".join(words)], capture_output=True, text=True, check=True)
    groups = re.split(r"\bpau\b", done.stdout)
    return ["".join(map(_character, group.split())) for group in groups if group.strip()]


def _character(phone: str) -> str:
    bare = phone.rstrip("01")
    return (STRESS if phone.endswith("1") else "") + PHONES[bare]
