"""Subtitles, SubRip's (.srt) and WebVTT's (.vtt): what is spoken, and from when to when.

Many files break the rules: blank lines and numbers are missing, times have other marks. What can be
understood is; a subtitle whose times are none is left out, and said with its line.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...errors import TextError
from ...text.clauses import pieces
from ...text.scripts import flowed, spoken_length
from ..plan import Document, Piece
from .plain import read_characters
from .sdh import without_sdh

_TIME = r"(?:(\d{1,4})\s?:\s?)?(\d{1,3})\s?:\s?(\d{1,2})(?:\s?[,.:]\s?(\d{1,9}))?"
# What follows the times, such as a place on the screen, is left out.
_TIMES = re.compile(rf"\s*{_TIME}\s*-->\s*{_TIME}(?:[^\d,.:].*)?$")
# What was meant to be times.
_NEARLY = re.compile(
    r"\s*\d[\d\s]{0,20}:[\d:.,\s]{0,40}\S{0,2}\s{0,9}(?:[-–—=]{1,3}>|→).*|\s*\d.*-->.*|\s*-->.*"
    r"|\s*\d{1,3}:\d{1,2}:\d{1,2}[,.]\d{2,3}\b.*"
)
# <i>, <font color="red">, <v Ann>, <00:00:01.000>, {\an8}, {y:i}.
_TAGS = re.compile(r"</?[a-zA-Z][^<>]*>|<[\d:.]+>|</>|\{\\[^{}]*\}|\{[a-zA-Z]:[^{}]*\}")
# Notes of a tune, marks of a text's direction.
_UNSPOKEN = re.compile("[♪♫♬♩\u200e\u200f\u202a-\u202e\u2066-\u2069]+")
# A dash before each of two speakers, >> where the speaker changes, # around a song.
_BEGINNING = re.compile(r"^\s*(?:[-–—]\s*|>{2,}\s*)+|^\s*#\s+|\s+#\s*$", re.MULTILINE)
_PAUSE = re.compile(r"\[\s*pause\b[^\]]{0,80}\]", re.IGNORECASE)
_VTT_BLOCK = re.compile(r"(?:NOTE|STYLE|REGION)(?:\s|$)")
# Problems that are told one by one.
_MOST_TOLD = 10


@dataclass(frozen=True)
class Cue:
    """One subtitle: seconds, its lines as they are in the file, and the line of its times."""

    start: float
    end: float
    text: str
    line: int = 0


@dataclass
class Subtitles:
    """What a file has.

    Attributes:
        cues: in the order of the file.
        problems: what is wrong with others, each with its line.
    """

    cues: list[Cue] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def read_srt(path: Path, language: str | None, longest: int, sdh: bool = True) -> Document:
    """See `read_document`. Pieces come in the order of their times, which each has; a subtitle that
    is too long for one piece is cut into several that share its time by their lengths. One without
    a letter is left out."""
    content = read_characters(path)
    is_vtt = path.suffix.lower() == ".vtt" or content.startswith("WEBVTT")
    found = subtitles(content, is_vtt)
    if not found.cues and found.problems:
        raise TextError(f"{path}: {found.problems[0]}.")
    remarks = _remarks(found.problems)
    spoken: list[Piece] = []
    described = emptied = 0
    for cue in _in_order(found.cues):
        shown = _shown(cue.text)
        text = _spoken(shown if sdh else without_sdh(shown))
        if not sdh:
            whole = _spoken(shown)
            described += text != whole
            emptied += _has_words(whole) and not _has_words(text)
        if _has_words(text):
            spoken += _pieces(cue, text, longest, language)
    if described:
        remarks.append(
            f"--no-sdh: descriptions of {described} subtitle{'s' * (described > 1)} left out, of "
            f"which {emptied} had nothing else"
        )
    return Document(pieces=spoken, remarks=tuple(remarks))


def subtitles(text: str, is_vtt: bool = False) -> Subtitles:
    """The subtitles of a file.

    A subtitle goes on to the next line with times, but for the number before them; in VTT to the
    next blank line, as its rules have it.
    """
    lines = text.strip("\ufeff").split("\n")
    noted = set(_noted_lines(lines)) if is_vtt else set()
    marks = [
        at
        for at, line in enumerate(lines)
        if at not in noted and (_TIMES.match(line) or _NEARLY.match(line))
    ]
    found = Subtitles()
    if not marks:
        first = next((at for at, line in enumerate(lines) if line.strip()), 0)
        first += lines[first].strip().isdigit() and first + 1 < len(lines)
        found.problems.append(_no_times(first, lines[first]))
        return found
    numbered = _number_before(lines, marks[0], -1, True)
    if not is_vtt:
        _find_stray(lines[: marks[0] - numbered], found)
    for at, following in zip(marks, [*marks[1:], None], strict=True):
        if following is None:
            end = len(lines)
        else:
            end = following - _number_before(lines, following, at, numbered)
        body = lines[at + 1 : end]
        if is_vtt:
            body = _of_vtt(body)
        _add(lines[at], at, "\n".join(body).strip("\n"), found)
    return found


def _add(times: str, at: int, text: str, found: Subtitles) -> None:
    match = _TIMES.match(times)
    words = f": {' '.join(text.split())[:40]!r} is left out" if text.strip() else ""
    if match is None:
        found.problems.append(_no_times(at, times) + words)
        return
    start, end = _seconds(match.groups()[:4]), _seconds(match.groups()[4:])
    if end <= start:
        how = "when" if end == start else "before"
        found.problems.append(f"line {at + 1}: it ends {how} it begins{words}")
        return
    found.cues.append(Cue(start, end, text, at + 1))


def _no_times(at: int, line: str) -> str:
    return (
        f"line {at + 1} should be times such as 00:00:01,000 --> 00:00:02,500; it is "
        f"{line.strip()[:40]!r}"
    )


def _number_before(lines: Sequence[str], at: int, previous: int, numbered: bool) -> bool:
    """Whether the line before times is the subtitle's number, not the text of the one before.

    Args:
        previous: the line of the times before these.
        numbered: whether the file's first subtitle has a number.
    """
    if at == 0 or at - 1 <= previous or not lines[at - 1].strip("\ufeff \t").isdecimal():
        return False
    if at - 1 == 0 or not lines[at - 2].strip():
        return True
    # Without a blank line: a number in a file that counts, unless it is all that is said there and
    # does not count on.
    if not numbered or at - 2 > previous:
        return numbered
    number = int(lines[at - 1].strip("\ufeff \t")[:9])
    before = lines[previous - 1].strip() if previous > 0 else ""
    return before.isdecimal() and number == int(before[:9]) + 1


def _find_stray(lines: Sequence[str], found: Subtitles) -> None:
    for at, line in enumerate(lines):
        if any(map(str.isalpha, line)):
            found.problems.append(
                f"line {at + 1}: {line.strip()[:40]!r} stands before the first times and is left "
                "out"
            )
            return


def _of_vtt(body: list[str]) -> list[str]:
    """A cue's lines end at a blank one."""
    for at, line in enumerate(body):
        if not line.strip():
            return body[:at]
    return body


def _noted_lines(lines: Sequence[str]) -> Iterator[int]:
    """Of VTT's notes, styles and regions, which end at a blank line."""
    within = blank = False
    for at, line in enumerate(lines):
        within = (within or (blank and bool(_VTT_BLOCK.match(line)))) and bool(line.strip())
        blank = not line.strip()
        if within:
            yield at


def _remarks(problems: Sequence[str]) -> list[str]:
    told = list(problems[:_MOST_TOLD])
    more = len(problems) - len(told)
    return [*told, *([f"{more} more subtitles are wrong so"] if more else [])]


def _in_order(found: Sequence[Cue]) -> list[Cue]:
    """By their times; what begins at one time is one subtitle."""
    ordered: list[Cue] = []
    for cue in sorted(found, key=lambda cue: cue.start):
        if ordered and cue.start == ordered[-1].start:
            last = ordered.pop()
            cue = Cue(cue.start, max(cue.end, last.end), f"{last.text}\n{cue.text}", last.line)
        ordered.append(cue)
    return ordered


def _pieces(cue: Cue, text: str, longest: int, language: str | None) -> Iterator[Piece]:
    parts = pieces(text, longest, language)
    lengths = [spoken_length(part) for part in parts]
    at, rate = cue.start, (cue.end - cue.start) / sum(lengths)
    for index, (part, length) in enumerate(zip(parts, lengths, strict=True)):
        end = cue.end if index + 1 == len(parts) else round(at + length * rate, 3)
        yield Piece(part, start=at, end=end)
        at = end


def _has_words(text: str) -> bool:
    return any(map(str.isalnum, text))


def _shown(text: str) -> str:
    """A subtitle's lines as they are shown, without tags."""
    text = text.replace(r"\N", "\n").replace(r"\n", "\n").replace(r"\h", " ")
    return _TAGS.sub("", html.unescape(_TAGS.sub("", text)))


def _spoken(text: str) -> str:
    return flowed(_PAUSE.sub(" ", _BEGINNING.sub("", _UNSPOKEN.sub("", text))))


def _seconds(parts: tuple[str | None, ...]) -> float:
    hours, minutes, seconds, thousandths = parts
    whole = int(hours or 0) * 3600 + int(minutes) * 60 + int(seconds)
    return whole + int((thousandths or "0")[:3].ljust(3, "0")) / 1000
