"""Cutting of long texts into pieces that a model can speak: sentences, clauses or words."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache

from .scripts import HELD, UNSPACED, SpokenLimit, flowed, glue, measured
from .sentence_rules import sentence_rules_for
from .sentences import sentences

# A last piece shorter than this fraction of the others gets the last sentence of its neighbour.
_CRUMB = 0.3
# The mark stays with the piece before it. Among them: CJK and Arabic commas.
_CLAUSES = re.compile(
    r"(?<=[,;:·])\s+|\s+(?=[—–-]\s)|(?<=…)\s+|(?<=[，、；：])(?=[^\s」』”’）】》])|(?<=[،؛])\s+"
    r"|(?<=[…—])(?=[^\s\x00-\u2fff」』”’）】》…—])"
)
# Not inside a tag such as [clear throat].
_WORDS = re.compile(r"\s+(?![^\[\]]{0,40}\])")
# Characters that may not begin a line: small kana, marks, combining characters.
_BOUND = (
    r"[\u0300-\u036f\u0e31\u0e33-\u0e3a\u0e45-\u0e4e\u0eb1\u0eb4-\u0ebc\u0ec8-\u0ece"
    r"\u102b-\u103e\u17b4-\u17d3ぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮー々"
    r"、。，．！？；：」』”’）】》〉…・ゝヽ]"
)
_BETWEEN = re.compile(f"(?<={UNSPACED})(?!{_BOUND})")


def pieces(text: str, longest: int, language: str | None = "en") -> list[str]:
    """Cut a text.

    Args:
        longest: of a piece, in Latin letters (`scripts.spoken_length`, in English the number of
            characters), at most; 0 cuts nothing. A longer word stays whole, unless its script
            writes no spaces. A `SpokenLimit` counts the text as it will be spoken.
        language: a code; its rules find the ends of sentences.

    Returns:
        The pieces in order, each with a letter or digit in it; the text alone if it is short
        enough or has none.
    """
    if not longest:
        # As upstream does.
        return [" ".join(text.split())]
    text = flowed(text)
    if measured(text, longest) <= longest:
        return [text]
    if isinstance(longest, SpokenLimit):
        text = longest.writing.held(text)
    cut: list[str] = []
    for group in with_letters(_cut(text, longest, _cuts(language))):
        cut.append(_joined(group, None))
    if len(cut) > 1 and not any(map(str.isalnum, cut[0])):
        cut[:2] = [cut[0] + glue(cut[0], cut[1]) + cut[1]]
    return [piece.replace(HELD, " ") for piece in cut]


def with_letters(parts: Iterable[str]) -> list[list[str]]:
    """Group parts: one that has no letter or digit joins the part before it."""
    groups: list[list[str]] = []
    for part in parts:
        if groups and not any(map(str.isalnum, part)):
            groups[-1].append(part)
        else:
            groups.append([part])
    return groups


Cut = Callable[[str], list[str]]


@lru_cache(maxsize=32)
def _cuts(language: str | None) -> tuple[Cut, ...]:
    """The ways to cut a text, best first."""
    joints = "|".join(map(re.escape, sentence_rules_for(language).joints))
    joined = [re.compile(rf"\s+(?=(?:{joints})\s)").split] if joints else []
    return (
        lambda text: sentences(text, language),
        lambda text: sentences(text, language, loosely=True),
        _CLAUSES.split,
        *joined,
        _WORDS.split,
        _characters,
    )


def _characters(text: str) -> list[str]:
    """Cut between characters of a script without spaces, but not before a mark or a small kana
    that belongs to the character before it."""
    return _BETWEEN.split(text)


def _cut(text: str, longest: int, cuts: tuple[Cut, ...]) -> list[str]:
    if not cuts or measured(text, longest) <= longest:
        return [text]
    parts = [part for part in cuts[0](text) if part]
    small = [piece for part in parts for piece in _cut(part, longest, cuts[1:])]
    # Parts of a word, in a script without spaces, are joined without a separator.
    return grouped(small, longest, None if cuts[0] is not _characters else "")


def grouped(parts: list[str], longest: int, between: str | None = None) -> list[str]:
    """Join neighbours again while they fit, into pieces of about equal length, none very short.

    Args:
        parts: at least one.
        between: the separator; None: a space, or nothing within Chinese and Japanese.
    """
    lengths = [measured(part, longest) for part in parts]
    total = sum(lengths) + len(parts) - 1
    wanted = total / -(-total // longest)
    groups: list[list[int]] = [[0]]
    length = lengths[0]
    for i in range(1, len(parts)):
        both = length + 1 + lengths[i]
        if both <= longest and (length < wanted * 0.7 or both <= wanted * 1.1):
            groups[-1].append(i)
            length = both
        else:
            groups.append([i])
            length = lengths[i]
    _spread(groups, lengths, longest, wanted)
    return [_joined([parts[i] for i in group], between) for group in groups]


def _spread(groups: list[list[int]], lengths: list[float], longest: int, wanted: float) -> None:
    """Give short groups at the end the last parts of those before them."""

    def length(group: list[int]) -> float:
        return sum(lengths[i] for i in group) + len(group) - 1

    for before, group in zip(reversed(groups[:-1]), reversed(groups[1:]), strict=True):
        while length(group) < _CRUMB * wanted and len(before) > 1:
            both = length(group) + 1 + lengths[before[-1]]
            if both > longest or length(before[:-1]) < both / 2:
                break
            group.insert(0, before.pop())


def _joined(parts: list[str], between: str | None) -> str:
    text = parts[0]
    for part in parts[1:]:
        text += (glue(text, part) if between is None else between) + part
    return text
