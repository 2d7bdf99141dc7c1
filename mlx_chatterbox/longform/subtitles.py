"""Writing of subtitles: SRT (SubRip) and VTT (WebVTT).

A piece of more than two lines is shown as several cues. Their times within the piece are not known;
they share its time in proportion to their numbers of letters.
"""

from __future__ import annotations

import html
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ..text.clauses import pieces

FORMATS = ("srt", "vtt")
LINE = 42  # characters, the usual limit of broadcasters
LINES = 2


@dataclass(frozen=True)
class Cue:
    """A text, and the times between which it is shown, s."""

    text: str
    start: float
    end: float


def cues(spoken: Iterable[Cue]) -> Iterator[Cue]:
    """Cut texts that are too long for one cue."""
    for cue in spoken:
        parts = pieces(cue.text, LINE * LINES - LINE // 4)  # leaves room for uneven lines
        letters = sum(map(len, parts))
        start, done = cue.start, 0
        for text in parts:
            done += len(text)
            end = cue.start + (cue.end - cue.start) * done / letters
            yield Cue(text, start, end)
            start = end


def render(spoken: Iterable[Cue], form: str) -> str:
    """Make the content of a subtitles file.

    Args:
        form: "srt" or "vtt".
    """
    parts = ["WEBVTT\n"] if form == "vtt" else []
    for number, cue in enumerate(cues(spoken), start=1):
        mark = "." if form == "vtt" else ","
        times = f"{clock(cue.start, mark)} --> {clock(cue.end, mark)}"
        lines = "\n".join(textwrap.wrap(cue.text, LINE))
        # VTT has markup, and neither format allows the arrow in a text.
        lines = html.escape(lines, quote=False) if form == "vtt" else lines.replace("-->", "→")
        parts.append(f"{number}\n{times}\n{lines}\n")
    return "\n".join(parts)


def clock(seconds: float, mark: str) -> str:
    """Format a time as subtitles do: hours, minutes, seconds, and thousandths after `mark`."""
    milliseconds = round(seconds * 1000)
    whole, rest = divmod(milliseconds, 1000)
    minutes, second = divmod(whole, 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{second:02d}{mark}{rest:03d}"
