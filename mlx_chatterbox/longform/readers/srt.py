"""Subtitles, SubRip's (.srt) and WebVTT's (.vtt): what is spoken, and from when to when.

Many files break the rules: blank lines and numbers are missing, times have other marks. What can be
understood is; a subtitle whose times are none is left out, and said with its line.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from ...errors import TextError
from ...text.clauses import pieces
from ...text.scripts import flowed, spoken_length
from ..plan import Document, Piece, checked_count
from .plain import characters_of
from .rolling import SubtitleCue, shown_once
from .sdh import without_sdh

_TIME = r"(?:(\d{1,4})\s?:\s?)?(\d{1,3})\s?:\s?(\d{1,2})(?:\s?[,.:;]\s?(\d{1,9}))?"
# Some write 00.00.01,500.
_DOTTED = r"(\d{1,4})\.(\d{1,2})\.(\d{1,2})(?:[,:;](\d{1,9}))"
# "-->", and what was typed for it.
_ARROW = r"\s*(?:[-–—=]{1,3}\s?(?:>|&gt;){1,2}|→)\s*"
# What follows the times, such as a place on the screen, is left out.
_TIMES, _DOTTED_TIMES = (
    re.compile(rf"\s*{time}{_ARROW}{time}(?:[^\d,.:;].*)?$") for time in (_TIME, _DOTTED)
)
# What was meant to be times.
_NEARLY = re.compile(
    r"\s*[-−]?\d[\d\s]{0,20}:[\d:.,\s]{0,40}\S{0,2}\s{0,9}(?:[-–—=]{1,3}>|→).*"
    r"|\s*[-−]?\d.*-->.*|\s*-->.*"
    r"|\s*\d{1,3}:\d{1,2}:\d{1,2}[,.]\d{2,3}\b.*"
)
# <i>, <font color="red">, <v Ann>, <00:00:01.000>, {\an8}, {y:i}.
_TAGS = re.compile(
    r"</?[a-zA-Z][^<>]*>|<[\d:.]+>|</>|\{\\[^{}]*\}|\{[a-zA-Z]:[^{}]*\}|<!--(?:(?!<!--|-->).)*-->"
    r"|<\s{0,3}/?\s{0,3}(?:[ibus]|em|strong|font)\s{0,3}>",
    re.IGNORECASE,
)
# Notes of a tune, marks of a text's direction.
_UNSPOKEN = re.compile("[♪♫♬♩¶\u200e\u200f\u202a-\u202e\u2066-\u2069]+")
# Within a line: what may span lines begins anew at each of them.
_GAP = r"[^\S\n]"
# A dash before each of two speakers, >> where the speaker changes, # around a song.
_BEGINNING = re.compile(
    rf"^{_GAP}*(?:[-–—]{_GAP}*|>{{2,}}{_GAP}*)+|^{_GAP}*#(?:{_GAP}+|$)|(?<!{_GAP}){_GAP}+#{_GAP}*$"
    r"|(?:(?<=\s)|^)>{2,3}(?=\s{0,3}(?:[^\W\d_\s]|$))",
    re.MULTILINE,
)
_SONG = re.compile(r"\A\s*#\s?(?!\d)([^#]*[^#\s])\s?#\s*\Z")
_PAUSE = re.compile(r"\[\s*pause\b[^\]]{0,80}\]", re.IGNORECASE)
_VTT_BLOCK = re.compile(r"(?:NOTE|STYLE|REGION)(?:\s|$)")
# Problems that are told one by one.
_MOST_TOLD = 10


@dataclass
class Subtitles:
    """The content of a file.

    Attributes:
        cues: in the order of the file.
        problems: what is wrong with others, each with its line.
    """

    cues: list[SubtitleCue] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def read_srt(path: Path, language: str | None, longest: int, sdh: bool = True) -> Document:
    """See `read_document`. Pieces come in the order of their times, which each has; a subtitle that
    is too long for one piece is cut into several that share its time by their lengths. One without
    a letter is left out."""
    content, guessed = characters_of(path, language)
    if not content.strip("\ufeff \t\n"):
        raise TextError(f"{path}: there is nothing to speak in it.")
    is_vtt = path.suffix.lower() == ".vtt" or content.startswith("WEBVTT")
    found = subtitles(content, is_vtt)
    if not found.cues and found.problems:
        raise TextError(f"{path}: {found.problems[0]}.")
    remarks = [*guessed, *_remarks(found.problems)]
    spoken: list[Piece] = []
    described = emptied = 0
    cues, again = shown_once(_in_order(found.cues))
    if again:
        remarks.append(
            f"rolling subtitles: {again} lines that are only shown again are spoken once"
        )
    for cue in cues:
        shown = _shown(cue.text)
        text = _spoken(shown if sdh else without_sdh(shown))
        if not sdh:
            whole = _spoken(shown)
            described += text != whole
            emptied += _has_words(whole) and not _has_words(text)
        if _has_words(text):
            spoken += _timed_pieces(cue, text, longest, language)
            checked_count(len(spoken))
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
        if at not in noted and (_times_in(line) or _NEARLY.match(line))
    ]
    found = Subtitles()
    if not marks:
        first = next((at for at, line in enumerate(lines) if line.strip()), 0)
        first += lines[first].strip().isdigit() and first + 1 < len(lines)
        found.problems.append(_no_times(first, lines[first]))
        return found
    number_lines = _number_before(lines, marks[0], -1, True)
    if not is_vtt:
        _find_stray(lines[: marks[0] - number_lines], found)
    for at, following in zip(marks, [*marks[1:], None], strict=True):
        if following is None:
            end = len(lines)
        else:
            end = following - _number_before(lines, following, at, number_lines > 0)
        body = lines[at + 1 : end]
        if is_vtt:
            body = _of_vtt(body)
        _add(lines[at], at, "\n".join(body).strip("\n"), found)
    return found


def _times_in(line: str) -> re.Match | None:
    return _TIMES.match(line) or _DOTTED_TIMES.match(line)


def _add(times: str, at: int, text: str, found: Subtitles) -> None:
    match = _times_in(times)
    words = f": {' '.join(text.split())[:40]!r} is left out" if text.strip() else ""
    if match is None:
        found.problems.append(_no_times(at, times) + words)
        return
    start, end = _seconds(match.groups()[:4]), _seconds(match.groups()[4:])
    if end <= start:
        how = "when" if end == start else "before"
        found.problems.append(f"line {at + 1}: it ends {how} it begins{words}")
        return
    found.cues.append(SubtitleCue(start, end, text, at + 1))


def _no_times(at: int, line: str) -> str:
    return (
        f"line {at + 1} should be times such as 00:00:01,000 --> 00:00:02,500; it is "
        f"{line.strip()[:40]!r}"
    )


def _number_before(lines: Sequence[str], at: int, previous: int, numbered: bool) -> int:
    """How many lines before times are the subtitle's number, not the text of the one before.

    Args:
        previous: the line of the times before these.
        numbered: whether the file's first subtitle has a number.
    """
    place = at - 1
    while place > previous and not lines[place].strip("\ufeff \t"):
        place -= 1
    if place <= previous or not lines[place].strip("\ufeff \t").isdecimal():
        return 0
    number = int(lines[place].strip("\ufeff \t")[:9])
    above = [line.strip("\ufeff \t") for line in lines[max(0, previous - 3) : max(0, previous)]]
    before = next(filter(None, reversed(above)), "")
    counts_on = before.isdecimal() and number == int(before[:9]) + 1
    if place < at - 1:
        # An empty line between a number and its times.
        return at - place if counts_on or previous < 0 else 0
    if place == 0 or not lines[place - 1].strip():
        return 1
    # Without a blank line: a number in a file that counts, unless it is all that is said there and
    # does not count on.
    return int(numbered if place - 1 > previous else numbered and counts_on)


def _find_stray(lines: Sequence[str], found: Subtitles) -> None:
    for at, line in enumerate(lines):
        if any(map(str.isalpha, line)):
            found.problems.append(
                f"line {at + 1}: {line.strip()[:40]!r} stands before the first times and is left "
                "out"
            )
            return


def _of_vtt(body: list[str]) -> list[str]:
    """A cue's lines end at an empty one; YouTube's have lines of a space in them."""
    for at, line in enumerate(body):
        if not line:
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
    many = "subtitles are" if more > 1 else "subtitle is"
    return [*told, *([f"{more} more {many} wrong in such a way"] if more else [])]


def _in_order(cues: Sequence[SubtitleCue]) -> list[SubtitleCue]:
    """Sort subtitles by their times, those that begin at one time joined into one."""
    ordered: list[SubtitleCue] = []
    for start, same in groupby(sorted(cues, key=lambda cue: cue.start), lambda cue: cue.start):
        group = list(same)
        text = "\n".join(cue.text for cue in group)
        ordered.append(SubtitleCue(start, max(cue.end for cue in group), text, group[0].line))
    return ordered


def _timed_pieces(
    cue: SubtitleCue, text: str, longest: int, language: str | None
) -> Iterator[Piece]:
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
    text = _SONG.sub(r"\1", _UNSPOKEN.sub("", text))
    return flowed(_PAUSE.sub(" ", _BEGINNING.sub("", text)))


def _seconds(parts: tuple[str | None, ...]) -> float:
    hours, minutes, seconds, thousandths = parts
    whole = int(hours or 0) * 3600 + int(minutes or 0) * 60 + int(seconds or 0)
    return whole + int((thousandths or "0")[:3].ljust(3, "0")) / 1000
