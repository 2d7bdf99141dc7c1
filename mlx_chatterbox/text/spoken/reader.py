"""The rewriting of text into words: rules, tried at each place of a text from left to right.

A rule has the characters it may begin with, a pattern, and a function from a match to words. The
first rule that fits a place wins, and its words are not read again, so that no rule can spoil
another's. Text that no rule fits stays as it is, to the byte. Patterns repeat nothing that is
itself repeated and have bounded lengths, so the time is linear in the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

DIGIT, LETTER = "0", "a"
# From a match to its words; None: the match is something else after all.
Say = Callable[[re.Match], "str | None"]

_WINDOW = 64
_WORD = re.compile(r"[^\W_]+(?:['’][^\W\d_]+)*")
_LETTERS = re.compile(r"[^\W\d_]+")
# Where something may begin: a letter, a digit, or a sign.
_NEXT = re.compile(r"[^\s,;!?)\]}\"“”…]")
# Before a word that begins a sentence: an end of another, marks of quotation, white space.
_BEGINNING = re.compile(r"(?:^|[.!?…][\"'”’)\]]{0,3}\s+|\n\s*)[\"'“‘(\[]{0,3}$")


@dataclass(frozen=True)
class ReadingRule:
    """One way to read something.

    Attributes:
        starts: characters that it may begin with; "0" stands for any digit, "a" for any letter.
        pattern: matched where a word, a number or a sign begins.
        say: writes a match in words; None leaves the place to the next rule.
        needs: wherever the pattern fits, one of these characters stands within `_WINDOW` of the
            beginning: a cheap test before the pattern is tried. Empty: no such test.
    """

    starts: str
    pattern: re.Pattern
    say: Say
    needs: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Replacement:
    """The part of a text from `start` to `end`, and the words to be spoken in its place."""

    start: int
    end: int
    words: str


class RuleReader:
    """Applies the rules of one language, in their order, to a text.

    Args:
        plain: matches words that no rule is tried on, except those in `special`.
        spaced: whether the language puts spaces between words, so also between number and word.
    """

    def __init__(
        self,
        rules: Iterable[ReadingRule],
        plain: re.Pattern | None = None,
        special: Collection[str] = (),
        spaced: bool = True,
    ):
        self._rules = tuple(rules)
        self._plain, self._special = plain, frozenset(special)
        self._spaced = spaced
        self._word = _WORD if spaced else _LETTERS
        self._by_start: dict[str, tuple[ReadingRule, ...]] = {}

    def replacements(self, text: str) -> Iterator[Replacement]:
        """Yield the parts of a text that are spoken otherwise than written, in order."""
        at = 0
        while (beginning := _NEXT.search(text, at)) is not None:
            at = beginning.start()
            kind = _kind(text[at])
            if kind == LETTER and self._plain is not None:
                word = self._plain.match(text, at)
                if word is not None and word.group() not in self._special:
                    at = word.end()
                    continue
            replacement = self._replacement(text, at, kind)
            if replacement is not None:
                yield replacement
                at = replacement.end
            elif kind in (DIGIT, LETTER):
                word = self._word.match(text, at) or _WORD.match(text, at)
                at = word.end() if word is not None else at + 1
            else:
                at += 1

    def _replacement(self, text: str, at: int, kind: str) -> Replacement | None:
        rules = self._by_start.get(text[at])
        if rules is None:
            either = {text[at], kind}
            rules = tuple(rule for rule in self._rules if not either.isdisjoint(rule.starts))
            self._by_start[text[at]] = rules
        near = set(text[at : at + _WINDOW])
        for rule in rules:
            if rule.needs and rule.needs.isdisjoint(near):
                continue
            match = rule.pattern.match(text, at)
            if match is None or match.end() == at:
                continue
            words = rule.say(match)
            if words is not None:
                return Replacement(at, match.end(), words)
        return None

    def __call__(self, text: str) -> str:
        """Write a text out in words."""
        parts: list[str] = []
        done, last = 0, ""
        for change in self.replacements(text):
            between, words = text[done : change.start], change.words
            if words == text[change.start : change.end]:
                parts.append(between + words)
                last, done = words[-1], change.end
                continue
            # Text after a replacement goes on with its sentence, whatever full stop that had.
            goes_on = (
                bool(done) and not between.strip() and last not in ".!?" and "\n" not in between
            )
            parts.append(between)
            last, done = (between or last)[-1:], change.end
            if self._spaced and last and (last.isalnum() or last in ")%") and words[0] != " ":
                parts.append(" ")
            if not goes_on and not last.isalnum() and _begins(text, change.start):
                words = words[0].upper() + words[1:]
            if self._spaced and text[done : done + 1].isalnum() and words[-1] != " ":
                words += " "
            parts.append(words)
            last = words[-1]
        parts.append(text[done:])
        return "".join(parts)


def _kind(character: str) -> str:
    if character.isdecimal():
        return DIGIT
    return LETTER if character.isalpha() else character


def _begins(text: str, at: int) -> bool:
    """Return True where a sentence begins at `at`."""
    if not at:
        return True
    return _BEGINNING.search(text[max(0, at - 8) : at]) is not None and (
        at <= 8 or not text[at - 8 : at].isspace()
    )


def word_before(text: str, at: int) -> str:
    """The word before a place in the same line, with its full stop; "" for none."""
    before = text[max(0, at - 40) : at].rstrip(" \u00a0")
    if not before or before[-1] in "\n,;:!?":
        return ""
    return re.split(r"[\s(\[\"“‘]", before)[-1]


def word_after(text: str, at: int) -> str:
    """The word that begins after a place and white space, without the marks after it."""
    match = _AFTER.match(text, at)
    return match.group(1) if match else ""


_AFTER = re.compile(r"[ \u00a0]{1,3}([^\W\d_]{1,40})")
