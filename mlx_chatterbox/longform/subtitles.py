"""Subtitles of what was spoken: SRT (SubRip) and VTT (WebVTT).

A piece of more than two lines is shown as several cues. When each of them is said within the piece
is not known; they share its time by their numbers of letters.
"""

from __future__ import annotations

import html
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ..text.clauses import pieces

FORMATS = ("srt", "vtt")
LINE = 42  # characters, what broadcasters use
LINES = 2


@dataclass(frozen=True)
class Cue:
    """A text and when it is shown, in seconds."""

    text: str
    start: float
    end: float


def cues(spoken: Iterable[Cue]) -> Iterator[Cue]:
    """Cut texts that are too long to be read at once."""
    for cue in spoken:
        shown = pieces(cue.text, LINE * LINES - LINE // 4)  # leaves room for uneven lines
        letters = sum(map(len, shown))
        start, said = cue.start, 0
        for text in shown:
            said += len(text)
            end = cue.start + (cue.end - cue.start) * said / letters
            yield Cue(text, start, end)
            start = end


def render(spoken: Iterable[Cue], form: str) -> str:
    """A whole file of subtitles.

    Args:
        form: "srt" or "vtt".
    """
    parts = ["WEBVTT\n"] if form == "vtt" else []
    for number, cue in enumerate(cues(spoken), start=1):
        mark = "." if form == "vtt" else ","
        times = f"{clock(cue.start, mark)} --> {clock(cue.end, mark)}"
        lines = "\n".join(textwrap.wrap(cue.text, LINE))
        # VTT is marked up, and neither format can have the arrow in a text.
        lines = html.escape(lines, quote=False) if form == "vtt" else lines.replace("-->", "→")
        parts.append(f"{number}\n{times}\n{lines}\n")
    return "\n".join(parts)


def clock(seconds: float, mark: str) -> str:
    """Hours, minutes, seconds and thousandths, as subtitles write them."""
    milliseconds = round(seconds * 1000)
    whole, rest = divmod(milliseconds, 1000)
    minutes, second = divmod(whole, 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{second:02d}{mark}{rest:03d}"
