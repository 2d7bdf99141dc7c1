"""Finds clips whose text is far too long or far too short for their length."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from statistics import median

from .clip import Clip

# The fewest clips of a language whose median rate is used.
_ENOUGH = 5
# Factors by which a clip may be faster, and longer, than expected. Voices of one language differ by
# less than half from their median; breath and pauses take time without letters.
_FASTER, _SLOWER = 1.8, 2.0
_SLACK_SECONDS = (0.2, 1.5)
# Letters a second that are impossible for any speaker.
_IMPOSSIBLE = 40.0
# Letters that a digit counts for, since it is read as a word.
_DIGIT = 4.0


def misfits(clips: Sequence[Clip]) -> dict[str, str]:
    """Find clips whose texts do not fit their lengths; returns descriptions by id.

    A text should take about letters / rate seconds, with the median rate of the clips of the same
    language. Too fast: less than that divided by 1.8, less 0.2 s. Too slow: more than twice that
    plus 1.5 s. With fewer than five clips of a language only impossible rates are reported.
    """
    by_language: dict[str | None, list[Clip]] = defaultdict(list)
    for clip in clips:
        by_language[clip.language].append(clip)
    details = {}
    for same in by_language.values():
        rates = [_letters(clip.text) / clip.seconds for clip in same]
        usual = median(rates) if len(same) >= _ENOUGH else None
        for clip, rate in zip(same, rates, strict=True):
            if detail := _detail(clip, rate, usual):
                details[clip.id] = detail
    return {clip.id: details[clip.id] for clip in clips if clip.id in details}


def _detail(clip: Clip, rate: float, usual: float | None) -> str | None:
    text = clip.text if len(clip.text) <= 40 else clip.text[:37] + "..."
    measured = f"{text!r} in {clip.seconds:.1f} s is {rate:.1f} letters a second"
    if usual is None:
        return f"{measured}, which nobody speaks" if rate > _IMPOSSIBLE else None
    wanted = _letters(clip.text) / usual
    fast, slow = _SLACK_SECONDS
    if clip.seconds < wanted / _FASTER - fast or rate > max(_IMPOSSIBLE, _FASTER * usual):
        return f"{measured}, too fast: the others have {usual:.1f}"
    if clip.seconds > wanted * _SLOWER + slow:
        return f"{measured}, too slow: the others have {usual:.1f}"
    return None


def _letters(text: str) -> float:
    """Length of a text in letters; a digit counts as a word."""
    return sum(_DIGIT if c.isdigit() else 1.0 for c in text if c.isalnum())
