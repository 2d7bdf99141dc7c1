"""The machine beneath every reader of written text: rules, tried at each place from left to right.

A rule says with which characters what it reads begins, what it looks like, and how that is said.
The first rule that fits a place wins, and what it has written is not read again, so that no rule
can spoil another's words. What no rule fits stays as it is, to the byte. Patterns repeat nothing
that is itself repeated and have bounded lengths, so the time is linear in the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

DIGIT, LETTER = "0", "a"
# Says what was matched; None: this is something else after all.
Say = Callable[[re.Match], "str | None"]

_WINDOW = 64
_WORD = re.compile(r"[^\W_]+(?:['’][^\W\d_]+)*")
_LETTERS = re.compile(r"[^\W\d_]+")
# Where something may begin: a letter, a digit, or a sign.
_NEXT = re.compile(r"[^\s,;!?)\]}\"“”…]")
# Before a word that begins a sentence: an end of another, marks of quotation, white space.
_BEGINNING = re.compile(r"(?:^|[.!?…][\"'”’)\]]{0,3}\s+|\n\s*)[\"'“‘(\[]{0,3}$")


@dataclass(frozen=True)
class Rule:
    """One way to read something.

    Attributes:
        starts: characters that it may begin with; "0" stands for any digit, "a" for any letter.
        pattern: is matched where a word, a number or a sign begins.
        say: what is spoken; None leaves the place to the next rule.
        needs: characters of which one stands within `_WINDOW` of the beginning, wherever the
            pattern fits: a cheap look before a dear one. Empty: nothing is known.
    """

    starts: str
    pattern: re.Pattern
    say: Say
    needs: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Change:
    """A part of a text, from `start` to `end`, and what is said for it."""

    start: int
    end: int
    said: str


class Reader:
    """Rules in order, for one language.

    Args:
        plain: words that no rule is tried on, as far as they are none of `special`.
        spaced: the language puts spaces between words, and so between a number and a word.
    """

    def __init__(
        self,
        rules: Iterable[Rule],
        plain: re.Pattern | None = None,
        special: Collection[str] = (),
        spaced: bool = True,
    ):
        self._rules = tuple(rules)
        self._plain, self._special = plain, frozenset(special)
        self._spaced = spaced
        self._word = _WORD if spaced else _LETTERS
        self._by_start: dict[str, tuple[Rule, ...]] = {}

    def changes(self, text: str) -> Iterator[Change]:
        """What is said otherwise than it is written, in order."""
        at = 0
        while (found := _NEXT.search(text, at)) is not None:
            at = found.start()
            kind = _kind(text[at])
            if kind == LETTER and self._plain is not None:
                word = self._plain.match(text, at)
                if word is not None and word.group() not in self._special:
                    at = word.end()
                    continue
            change = self._change(text, at, kind)
            if change is not None:
                yield change
                at = change.end
            elif kind in (DIGIT, LETTER):
                word = self._word.match(text, at) or _WORD.match(text, at)
                at = word.end() if word is not None else at + 1
            else:
                at += 1

    def _change(self, text: str, at: int, kind: str) -> Change | None:
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
            said = rule.say(match)
            if said is not None:
                return Change(at, match.end(), said)
        return None

    def __call__(self, text: str) -> str:
        """The text in words."""
        parts: list[str] = []
        done, last = 0, ""
        for change in self.changes(text):
            between, said = text[done : change.start], change.said
            if said == text[change.start : change.end]:
                parts.append(between + said)
                last, done = said[-1], change.end
                continue
            # What follows a change goes on with its sentence, whatever full stop that had.
            goes_on = (
                bool(done) and not between.strip() and last not in ".!?" and "\n" not in between
            )
            parts.append(between)
            last, done = (between or last)[-1:], change.end
            if self._spaced and last and (last.isalnum() or last in ")%") and said[0] != " ":
                parts.append(" ")
            if not goes_on and not last.isalnum() and _begins(text, change.start):
                said = said[0].upper() + said[1:]
            if self._spaced and text[done : done + 1].isalnum() and said[-1] != " ":
                said += " "
            parts.append(said)
            last = said[-1]
        parts.append(text[done:])
        return "".join(parts)


def _kind(character: str) -> str:
    if character.isdecimal():
        return DIGIT
    return LETTER if character.isalpha() else character


def _begins(text: str, at: int) -> bool:
    """Whether a sentence begins at a place."""
    if not at:
        return True
    return _BEGINNING.search(text[max(0, at - 8) : at]) is not None and (
        at <= 8 or not text[at - 8 : at].isspace()
    )


def word_before(text: str, at: int) -> str:
    """The word, its full stop too, that ends before a place in the same line; "" for none."""
    before = text[max(0, at - 40) : at].rstrip(" \u00a0")
    if not before or before[-1] in "\n,;:!?":
        return ""
    return re.split(r"[\s(\[\"“‘]", before)[-1]


def word_after(text: str, at: int) -> str:
    """The word that begins after a place and white space, without the marks after it."""
    found = _AFTER.match(text, at)
    return found.group(1) if found else ""


_AFTER = re.compile(r"[ \u00a0]{1,3}([^\W\d_]{1,40})")
