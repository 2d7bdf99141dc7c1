"""Subtitles in SubRip (.srt) and WebVTT (.vtt): the texts to speak, and their times.

Many files break the rules: blank lines and numbers are missing, times are written in other ways.
Everything that can be understood is read; a subtitle with unreadable times is left out, and
reported with its line.
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
# "-->", and other ways to write it.
_ARROW = r"\s*(?:[-–—=]{1,3}\s?(?:>|&gt;){1,2}|→)\s*"
# Text after the times, such as a place on the screen, is ignored.
_TIMES, _DOTTED_TIMES = (
    re.compile(rf"\s*{time}{_ARROW}{time}(?:[^\d,.:;].*)?$") for time in (_TIME, _DOTTED)
)
# Lines that were meant to be times.
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
# Music notes, and marks of a text's direction.
_UNSPOKEN = re.compile("[♪♫♬♩¶\u200e\u200f\u202a-\u202e\u2066-\u2069]+")
# White space within a line; if it could span lines, matching would start over at each of them.
_GAP = r"[^\S\n]"
# A dash before each of two speakers, >> at a change of speaker, # around a song.
_BEGINNING = re.compile(
    rf"^{_GAP}*(?:[-–—]{_GAP}*|>{{2,}}{_GAP}*)+|^{_GAP}*#(?:{_GAP}+|$)|(?<!{_GAP}){_GAP}+#{_GAP}*$"
    r"|(?:(?<=\s)|^)>{2,3}(?=\s{0,3}(?:[^\W\d_\s]|$))",
    re.MULTILINE,
)
_SONG = re.compile(r"\A\s*#\s?(?!\d)([^#]*[^#\s])\s?#\s*\Z")
_PAUSE = re.compile(r"\[\s*pause\b[^\]]{0,80}\]", re.IGNORECASE)
_VTT_BLOCK = re.compile(r"(?:NOTE|STYLE|REGION)(?:\s|$)")
# Problems that are reported one by one.
_MOST_REPORTED = 10


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
    """Read subtitles; see `read_document`.

    Each piece has times, and pieces are in their order. A subtitle that is too long for one piece
    is cut into several, which share its time in proportion to their lengths. One without a letter
    is left out.
    """
    content, guessed = characters_of(path, language)
    if not content.strip("\ufeff \t\n"):
        raise TextError(f"{path}: there is nothing to speak in it.")
    is_vtt = path.suffix.lower() == ".vtt" or content.startswith("WEBVTT")
    file = subtitles(content, is_vtt)
    if not file.cues and file.problems:
        raise TextError(f"{path}: {file.problems[0]}.")
    remarks = [*guessed, *_remarks(file.problems)]
    spoken: list[Piece] = []
    described = emptied = 0
    cues, again = shown_once(_in_order(file.cues))
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
    """Parse the subtitles of a file.

    A subtitle ends at the next line with times, or the number before it; in VTT also at the next
    blank line, as the format defines.
    """
    lines = text.strip("\ufeff").split("\n")
    noted = set(_noted_lines(lines)) if is_vtt else set()
    marks = [
        at
        for at, line in enumerate(lines)
        if at not in noted and (_times_in(line) or _NEARLY.match(line))
    ]
    result = Subtitles()
    if not marks:
        first = next((at for at, line in enumerate(lines) if line.strip()), 0)
        first += lines[first].strip().isdigit() and first + 1 < len(lines)
        result.problems.append(_no_times(first, lines[first]))
        return result
    number_lines = _number_before(lines, marks[0], -1, True)
    if not is_vtt:
        _find_stray(lines[: marks[0] - number_lines], result)
    for at, following in zip(marks, [*marks[1:], None], strict=True):
        if following is None:
            end = len(lines)
        else:
            end = following - _number_before(lines, following, at, number_lines > 0)
        body = lines[at + 1 : end]
        if is_vtt:
            body = _vtt_body(body)
        _add(lines[at], at, "\n".join(body).strip("\n"), result)
    return result


def _times_in(line: str) -> re.Match | None:
    return _TIMES.match(line) or _DOTTED_TIMES.match(line)


def _add(times: str, at: int, text: str, result: Subtitles) -> None:
    """Add a subtitle to the result, or its problem.

    Args:
        times: the line with its times, of index `at`.
    """
    match = _times_in(times)
    words = f": {' '.join(text.split())[:40]!r} is left out" if text.strip() else ""
    if match is None:
        result.problems.append(_no_times(at, times) + words)
        return
    start, end = _seconds(match.groups()[:4]), _seconds(match.groups()[4:])
    if end <= start:
        how = "when" if end == start else "before"
        result.problems.append(f"line {at + 1}: it ends {how} it begins{words}")
        return
    result.cues.append(SubtitleCue(start, end, text, at + 1))


def _no_times(at: int, line: str) -> str:
    return (
        f"line {at + 1} should be times such as 00:00:01,000 --> 00:00:02,500; it is "
        f"{line.strip()[:40]!r}"
    )


def _number_before(lines: Sequence[str], at: int, previous: int, numbered: bool) -> int:
    """Count the lines before times that are the subtitle's number, not text of the one before.

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
    # Without a blank line: the number in a file with numbers, unless it is the only text there and
    # does not continue the count.
    return int(numbered if place - 1 > previous else numbered and counts_on)


def _find_stray(lines: Sequence[str], result: Subtitles) -> None:
    """Report the first text before the first times."""
    for at, line in enumerate(lines):
        if any(map(str.isalpha, line)):
            result.problems.append(
                f"line {at + 1}: {line.strip()[:40]!r} stands before the first times and is left "
                "out"
            )
            return


def _vtt_body(body: list[str]) -> list[str]:
    """Cut a cue's lines at the first empty one; YouTube has lines of one space in cues."""
    for at, line in enumerate(body):
        if not line:
            return body[:at]
    return body


def _noted_lines(lines: Sequence[str]) -> Iterator[int]:
    """Yield the indices of lines of VTT's notes, styles and regions, which end at a blank line."""
    within = blank = False
    for at, line in enumerate(lines):
        within = (within or (blank and bool(_VTT_BLOCK.match(line)))) and bool(line.strip())
        blank = not line.strip()
        if within:
            yield at


def _remarks(problems: Sequence[str]) -> list[str]:
    remarks = list(problems[:_MOST_REPORTED])
    more = len(problems) - len(remarks)
    many = "subtitles have" if more > 1 else "subtitle has"
    return [*remarks, *([f"{more} more {many} such problems"] if more else [])]


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
    """The lines of a subtitle as they are shown, without tags."""
    text = text.replace(r"\N", "\n").replace(r"\n", "\n").replace(r"\h", " ")
    return _TAGS.sub("", html.unescape(_TAGS.sub("", text)))


def _spoken(text: str) -> str:
    text = _SONG.sub(r"\1", _UNSPOKEN.sub("", text))
    return flowed(_PAUSE.sub(" ", _BEGINNING.sub("", text)))


def _seconds(parts: tuple[str | None, ...]) -> float:
    hours, minutes, seconds, thousandths = parts
    whole = int(hours or 0) * 3600 + int(minutes or 0) * 60 + int(seconds or 0)
    return whole + int((thousandths or "0")[:3].ljust(3, "0")) / 1000
