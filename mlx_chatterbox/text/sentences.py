"""Splitting of a paragraph into sentences, by rules and a table of abbreviations per language.

Why not a library: sentencex cuts after "M.", "डॉ." or "Der 2." and inside Chinese and Japanese
quotations, pysbd lacks nine of the 23 languages and is no longer maintained; and a book that is
resumed after an update must be cut in the same places.
"""

from __future__ import annotations

import re

from .scripts import HELD, glued
from .sentence_rules import SentenceRules, sentence_rules_for

# These end a sentence even where no space follows.
# These end a sentence even where no space follows.
_CJK_ENDS = "。！？｡"
_FIRM = "!?‼⁇⁈⁉؟۔।॥׃።။៕៚" + _CJK_ENDS
# Marks that close a quotation or a bracket, after the mark of a sentence's end.
_CLOSERS = "\"'”’»›“‘«‹)]}）］｝」』】〉》〕］｣〟"
_CJK_CLOSERS = "\"'”’»)]}）］｝」』】〉》〕］｣〟"
_CJK_OPENERS = "「『【〈《〔（［｢“‘"
_BEFORE_WORDS = re.compile(r"[\"'“”‘’„‚«»‹›(\[{（［｛「『【〈《〔［｢¿¡—–―•*\s-]*")
_OPENERS = "\"'“”‘’„‚«»‹›([{（［｛「『【〈《〔［｢¿¡—–-―•*"
_END = re.compile(rf"(?:\.(?:\s\.)+|[.…{_FIRM}\u037e]+(?:\s[!?]+)*)")
_GREEK_END = re.compile(rf"[.…{_FIRM};\u037e]+")
_WORD = re.compile(r"[\w'’]+")
_NUMBER = re.compile(r"\d|[IVXLC]+\b")
_ROMAN = re.compile(r"[IVXLC]+$")
_DOTTED = re.compile(r"[^\W\d_]{1,3}(?:\.-?[^\W\d_]{1,3})+$")
# Syllables of Korean are words of their own, so none is an initial; nor is a Chinese character.
_INITIAL = re.compile(r"[^\W\d_\u0900-\u097f\u1100-\uffff]$|[\u0905-\u0939][\u093e-\u094d]?$")
_LETTER_AND_STOP = re.compile(r"[^\W\d_]\.")
# "...?" 라고 물었다: he asked.
_KOREAN_SAID = re.compile("이?라[고며는]|하[고며]")
_PRONOUN = re.compile(r"I\b")
_FRENCH_CLOSER = re.compile("[ \u00a0\u202f]»")
# A longer word is not an abbreviation.
_LONGEST_WORD = 40


def sentences(text: str, language: str | None = "en", *, loosely: bool = False) -> list[str]:
    """Cut one paragraph (white space squeezed, see `scripts.flowed`) into sentences.

    Args:
        language: a code of `sentence_rules.RULES`; for others only the common rules hold.
        loosely: also cut after what ends a sentence where the next goes on in lower case, for
            texts whose sentences are too long; abbreviations still hold.

    Returns:
        The sentences in order, without the white space between them; no other character is lost.
    """
    rules = sentence_rules_for(language)
    language = (language or "en").lower()[:2]
    ends = _GREEK_END if language == "el" else _END
    closers = _CJK_CLOSERS if language in ("zh", "ja") else _CLOSERS
    cut: list[str] = []
    start = 0
    for match in ends.finditer(text):
        end = match.end()
        while end < len(text) and text[end] in closers:
            end += 1
        # French puts a space before its closing mark.
        if language == "fr" and _FRENCH_CLOSER.match(text, end):
            end += 2
        if match.start() < start or end >= len(text):
            continue
        if _is_end(text, start, match, end, rules, loosely):
            cut.append(text[start:end].strip())
            start = end
    cut.append(text[start:].strip())
    return _with_letters(cut)


def _is_end(
    text: str, start: int, match: re.Match, end: int, rules: SentenceRules, loosely: bool
) -> bool:
    """Return True where a sentence ends at `end`, after `match` and closing quotation marks."""
    mark, closed = match.group(), end > match.end()
    if not text[end].isspace():
        # After a quotation the sentence often goes on: 「本当？」と言った。
        return mark[-1] in _CJK_ENDS and (not closed or text[end] in _CJK_OPENERS)
    before_words = _BEFORE_WORDS.match(text, end)
    assert before_words is not None  # the pattern matches an empty string, too
    next_word = before_words.end()
    if next_word == len(text):
        return True
    if text[next_word].islower() and not loosely:
        return False
    if closed and _KOREAN_SAID.match(text, next_word):
        return False
    if mark != ".":
        # "Well... I know" goes on, as far as one can see.
        return bool(mark.strip(".… ")) or not _PRONOUN.match(text, next_word)
    before = (
        text[max(start, match.start() - _LONGEST_WORD) : match.start()].replace(HELD, " ").split()
    )
    if not before or text[match.start() - 1].isspace():
        return True
    words = [word.lstrip(_OPENERS) for word in before[-2:]]
    return _full_stop_ends(words[-1], words[0] if words[1:] else "", text, next_word, rules)


def _full_stop_ends(word: str, previous: str, text: str, at: int, rules: SentenceRules) -> bool:
    """Return True where the full stop after `word` ends a sentence if the text goes on at `at`.

    previous: the word before it in the same sentence, "" if it is the first.
    """
    small, before = word.lower(), previous.lower()
    following = _WORD.match(text, at)
    starter = following is not None and (
        following.group().lower().replace("’", "'") in rules.starters
        and not _LETTER_AND_STOP.match(text, at)
    )
    # "z. B." is "z.B.".
    both = before + small if before.endswith(".") else small
    if {small, both} & rules.titles or (small in rules.numbered and _NUMBER.match(text, at)):
        return False
    if word.isdigit():
        is_ordinal = rules.ordinals and len(word) <= 2 and before.rstrip(".") not in rules.numbered
        return bool(previous) and (starter or not is_ordinal)
    if rules.ordinals and _ROMAN.match(word):
        return starter
    if _INITIAL.match(word) and not previous:
        return False
    if {small, both} & rules.enders:
        return starter or (text[at].isupper() and not rules.nouns_capital)
    if _INITIAL.match(word) or _DOTTED.match(word):
        # J. R. R. Tolkien; the U.S. Army; but: in the U.S. She left.
        return starter and word.isupper()
    return True


def _with_letters(parts: list[str]) -> list[str]:
    """Join a part without letters or digits to the sentence before it, or else to the next."""
    kept: list[list[str]] = []
    waiting: list[str] = []
    for sentence in filter(None, parts):
        if any(map(str.isalnum, sentence)):
            kept.append([*waiting, sentence])
            waiting = []
        else:
            (kept[-1] if kept else waiting).append(sentence)
    return [glued(group) for group in kept or ([waiting] if waiting else [])]
