"""Subtitles for the deaf say what is heard besides words; who speaks them leaves that out."""

from __future__ import annotations

import re

_SQUARE = re.compile(r"\[[^\[\]]{0,400}\]|【[^【】]{0,400}】|（[^（）]{0,400}）|\{[^{}]{0,400}\}")
_ROUND = re.compile(r"\(([^()]{0,400})\)")
_NOTE = "♪♫♬♩"
# Between two notes, over any lines; from one to the end of its line; # at both ends of a line.
_SUNG = re.compile(
    rf"[{_NOTE}][^{_NOTE}]*[{_NOTE}]+|[{_NOTE}][^\n]*|^[^\n{_NOTE}]*[{_NOTE}]\s*$|^\s*#\s[^\n]*\s#\s*$",
    re.MULTILINE,
)
# JOHN:, MAN #2:, DR. SMITH:, JOHN AND MARY:; before a word, not before the minutes of 10:30.
_SPEAKER = re.compile(
    r"^(\s{0,9}(?:[-–—]\s{0,9}|>{2,9}\s{0,9}){0,3})([^\W\d_][^:\n]{0,40}?)\s{0,9}:(?=\s|$|[^\W\d_])\s{0,9}",
    re.MULTILINE,
)
# What is left of "[JOHN]:".
_LEFT = re.compile(r"^(\s{0,9}(?:[-–—]\s{0,9})?):\s{0,9}", re.MULTILINE)


def without_sdh(text: str) -> str:
    """A subtitle's lines without sounds, speakers' names and songs.

    Left out are `[door slams]` and other brackets, `(SIGHS)` where it is in capitals, or does not
    stand within a sentence, `JOHN:` in capitals before a line, and what stands between notes of
    music.
    """
    found = _SQUARE.sub(" ", _SUNG.sub("\n", text))
    found = _LEFT.sub(r"\1", _SPEAKER.sub(_named, _ROUND.sub(_described, found)))
    if found == text:
        return text
    return "\n".join(line for line in found.split("\n") if any(map(str.isalnum, line)))


def _described(match: re.Match) -> str:
    inner, text = match.group(1), match.string
    before = text[: match.start()].rsplit("\n", 1)[-1].strip(" -–—>")
    after = text[match.end() :].split("\n", 1)[0].strip()
    # It stands alone, begins or ends a line, follows a name or a sentence.
    apart = not before or not after.strip(" .,;:!?-–—") or before[-1] in ".!?:…" or after[0] == ":"
    return " " if inner.upper() == inner or apart else match.group()


def _named(match: re.Match) -> str:
    name = match.group(2)
    letters = [letter for letter in name if letter.isalpha()]
    if len(letters) > 1 and all(not letter.islower() for letter in letters):
        return match.group(1)
    return match.group()
