"""SubRip subtitles: what is spoken, and from when to when."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ...errors import TextError
from ...text.clauses import pieces
from ...text.scripts import flowed, spoken_length
from ..plan import Document, Piece
from .plain import read_characters

_TIME = r"(?:(\d{1,3}):)?(\d{1,2}):(\d{1,2})(?:[,.](\d{1,3}))?"
# What follows the times, such as a place on the screen, is left out.
_TIMES = re.compile(rf"\s*{_TIME}\s*-->\s*{_TIME}(?:\s.*)?$")
# <i>, <font color="red">, {\an8}; notes of a tune; a dash before each of two speakers.
_TAGS = re.compile(r"</?[a-zA-Z][^<>]*>|\{\\[^{}]*\}|[♪♫]+")
_DASH = re.compile(r"^\s*[-–—]\s*", re.MULTILINE)
_PAUSE = re.compile(r"\[\s*pause\b[^\]]{0,80}\]", re.IGNORECASE)


@dataclass(frozen=True)
class Cue:
    """One subtitle: seconds, and its lines as they are in the file."""

    start: float
    end: float
    text: str


def read_srt(path: Path, language: str | None, longest: int) -> Document:
    """See `read_document`. Pieces come in the order of their times, which each has; a subtitle that
    is too long for one piece is cut into several that share its time by their lengths. One without
    a letter is left out."""
    spoken: list[Piece] = []
    for cue in _in_order(cues(read_characters(path), str(path))):
        text = flowed(_DASH.sub("", _without_tags(cue.text)))
        if not any(map(str.isalnum, text)):
            continue
        parts = pieces(text, longest, language)
        lengths = [spoken_length(part) for part in parts]
        at, rate = cue.start, (cue.end - cue.start) / sum(lengths)
        for index, (part, length) in enumerate(zip(parts, lengths, strict=True)):
            end = cue.end if index + 1 == len(parts) else round(at + length * rate, 3)
            spoken.append(Piece(part, start=at, end=end))
            at = end
    return Document(pieces=spoken)


def cues(text: str, name: str) -> Iterator[Cue]:
    """Subtitles in the order of the file.

    Args:
        text: of the file, called `name` in messages.

    Raises:
        TextError: what should be times is none, or one ends before it begins; with the line.
    """
    lines = text.strip("\ufeff").split("\n")
    at = 0
    while at < len(lines):
        if not lines[at].strip():
            at += 1
            continue
        # A number stands before the times, except where somebody has lost it.
        if lines[at].strip().isdigit() and at + 1 < len(lines):
            at += 1
        match = _TIMES.match(lines[at])
        if match is None:
            shown = lines[at].strip()[:40]
            raise TextError(
                f"{name}: line {at + 1} should be times such as 00:00:01,000 --> 00:00:02,500; it "
                f"is {shown!r}."
            )
        start, end = _seconds(match.groups()[:4]), _seconds(match.groups()[4:])
        if end <= start:
            raise TextError(f"{name}: line {at + 1}: it ends before it begins.")
        first = at = at + 1
        while at < len(lines) and lines[at].strip():
            at += 1
        yield Cue(start, end, "\n".join(lines[first:at]))


def _in_order(found: Iterator[Cue]) -> list[Cue]:
    """By their times; what begins at one time is one subtitle."""
    ordered: list[Cue] = []
    for cue in sorted(found, key=lambda cue: cue.start):
        if ordered and cue.start == ordered[-1].start:
            last = ordered.pop()
            cue = Cue(cue.start, max(cue.end, last.end), f"{last.text}\n{cue.text}")
        ordered.append(cue)
    return ordered


def _without_tags(text: str) -> str:
    text = _TAGS.sub("", text.replace(r"\N", "\n").replace(r"\n", "\n"))
    return _PAUSE.sub(" ", html.unescape(text))


def _seconds(parts: tuple[str | None, ...]) -> float:
    hours, minutes, seconds, thousandths = parts
    whole = int(hours or 0) * 3600 + int(minutes) * 60 + int(seconds)
    return whole + int((thousandths or "0").ljust(3, "0")) / 1000
