"""Removal of the descriptions in subtitles for the deaf: sounds, speakers' names, songs."""

from __future__ import annotations

import re

_SQUARE = re.compile(r"\[[^\[\]]{0,400}\]|【[^【】]{0,400}】|（[^（）]{0,400}）|\{[^{}]{0,400}\}")
_ROUND = re.compile(r"\(([^()]{0,400})\)")
# Some programs write ¶ for a music note.
_NOTE = "♪♫♬♩¶"
# *sighs*
_STARRED = re.compile(r"\*([^*\n]{1,60})\*")
# Text between two music notes, over any lines; from one note to the end of its line; with # at both
# ends of a line or of the subtitle.
_SUNG = re.compile(
    rf"[{_NOTE}][^{_NOTE}]*[{_NOTE}]+|[{_NOTE}][^\n]*|^[^\n{_NOTE}]*[{_NOTE}]\s*$|^[^\S\n]*#\s[^\n]*\s#\s*$"
    r"|\A\s*#(?!\d)[^#]+#\s*\Z",
    re.MULTILINE,
)
# JOHN:, MAN #2:, DR. SMITH:, JOHN AND MARY:; before a word, not before the minutes of 10:30. Also
# after a sentence on the same line.
_SPEAKER = re.compile(
    r"(^\s{0,9}(?:[-–—]\s{0,9}|>{2,9}\s{0,9}){0,3}|(?<=[.!?…\"”])\s{1,9}(?:[-–—]\s{0,9}|>{2,9}\s{0,9})?)"
    r"([^\W\d_][^:\n]{0,40}?)\s{0,9}:(?=\s|$|[^\W\d_])\s{0,9}",
    re.MULTILINE,
)
# McCOY, O'BRIEN, MacDONALD: small letters of a name in capitals.
_SMALL_IN_NAMES = re.compile(
    r"\b(?:Mc|Mac|de|von|van)(?=\s?[A-Z]{2})|\b[A-Z][a-z]{1,2}\.(?=\s[A-Z]{2})"
)
_SENTENCE = re.compile(r"(?:(.*)([.!?…\"”]\s+))?(.*)$", re.DOTALL)
# Characters of a line that are looked at around a bracket; subtitles' lines are shorter.
_NEAR = 200
# The rest of "[JOHN]:".
_LEFT = re.compile(r"^(\s{0,9}(?:[-–—]\s{0,9})?):\s{0,9}", re.MULTILINE)


def without_sdh(text: str) -> str:
    """Remove sounds, speakers' names and songs from a subtitle's lines.

    These are `[door slams]` and other brackets; `(SIGHS)` and `*sighs*` if they are in capitals or
    outside a sentence; `JOHN:` in capitals before a line or a sentence; and text between music
    notes.
    """
    rest = _SQUARE.sub(" ", _SUNG.sub("\n", text))
    rest = _LEFT.sub(
        r"\1", _SPEAKER.sub(_named, _ROUND.sub(_described, _STARRED.sub(_described, rest)))
    )
    if rest == text:
        return text
    return "\n".join(line for line in rest.split("\n") if any(map(str.isalnum, line)))


def _described(match: re.Match) -> str:
    inner, text = match.group(1), match.string
    before = text[max(0, match.start() - _NEAR) : match.start()].rsplit("\n", 1)[-1]
    before = before.strip(" -–—>")
    after = text[match.end() : match.end() + _NEAR].split("\n", 1)[0].strip()
    # Alone, at the beginning or end of a line, or after a name or a sentence.
    apart = not before or not after.strip(" .,;:!?-–—") or before[-1] in ".!?:…" or after[0] == ":"
    return " " if inner.upper() == inner or apart else match.group()


def _named(match: re.Match) -> str:
    if _is_name(match.group(2)):
        return match.group(1)
    # A sentence and a name: "Come. MARY: Stay."
    sentence = _SENTENCE.match(match.group(2))
    assert sentence is not None  # every part of the pattern may be empty
    before, end, name = sentence.groups(default="")
    return f"{match.group(1)}{before}{end}" if end and _is_name(name) else match.group()


def _is_name(name: str) -> bool:
    name = _SMALL_IN_NAMES.sub(lambda small: small.group().upper(), name)
    letters = [letter for letter in name if letter.isalpha()]
    return len(letters) > 1 and all(not letter.islower() for letter in letters)
