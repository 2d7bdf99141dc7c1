"""Rolling subtitles, as YouTube makes them, in which each line is shown again with the next one."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

_TAG = re.compile(r"<[^<>]*>")
# A file rolls if this fraction of neighbouring pairs does, and so many; people repeat themselves.
_MOST_OF_THEM = 0.6
_FEWEST = 3
# Seconds between two subtitles that count as neighbours.
_TOUCH = 0.1
# The most lines that are shown again.
_MOST_LINES = 20


@dataclass(frozen=True)
class SubtitleCue:
    """One subtitle of a file.

    Attributes:
        start, end: s.
        text: its lines as they are in the file.
        line: number of the line that has its times, from 1.
    """

    start: float
    end: float
    text: str
    line: int = 0


def shown_once(cues: Sequence[SubtitleCue]) -> tuple[list[SubtitleCue], int]:
    """Remove the lines that subtitles repeat from the one before.

    Args:
        cues: in the order of their times.

    Returns:
        The subtitles, and the number of removed lines; 0 if most of the file does not roll.
    """
    lines = [_lines(cue.text) for cue in cues]
    shared = [_shared(one, other) for one, other in pairwise(lines)]
    touching = [
        count
        for count, (one, other) in zip(shared, pairwise(cues), strict=True)
        if abs(other.start - one.end) <= _TOUCH or other.start < one.end
    ]
    rolling = sum(count > 0 for count in touching)
    if rolling < _FEWEST or rolling < _MOST_OF_THEM * max(1, len(cues) - 1):
        return list(cues), 0
    kept = list(cues[:1])
    for cue, own, count in zip(cues[1:], lines[1:], shared, strict=True):
        fresh = [line for line in cue.text.split("\n") if _plain(line)][count:]
        if fresh or not own:
            kept.append(replace(cue, text="\n".join(fresh)))
    return kept, sum(shared)


def _lines(text: str) -> list[str]:
    return [plain for line in text.split("\n") if (plain := _plain(line))]


def _plain(line: str) -> str:
    return " ".join(html.unescape(_TAG.sub("", line)).split())


def _shared(one: Sequence[str], other: Sequence[str]) -> int:
    """Count the lines at the end of one subtitle that begin the other."""
    for count in range(min(len(one), len(other), _MOST_LINES), 0, -1):
        if list(one[-count:]) == list(other[:count]):
            return count
    return 0
