"""Texts against lengths: which clips say far more, or far less, than fits into them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from statistics import median

from .clip import Clip

# Clips of a language from which on their median says how fast it is spoken.
_ENOUGH = 5
# How much faster, and how much longer than a text wants, a clip may be. Voices of one language
# differ by less than half from their median; breath and pauses take time where nothing is said.
_FASTER, _SLOWER = 1.8, 2.0
_SLACK_SECONDS = (0.2, 1.5)
# Letters a second that nobody speaks, whatever the others do.
_IMPOSSIBLE = 40.0
# A digit stands for a word.
_DIGIT = 4.0


def misfits(clips: Sequence[Clip]) -> dict[str, str]:
    """What is wrong with the clips whose texts do not fit their lengths, by id.

    A text should take about letters / rate seconds, with the median rate of the clips of the same
    language. Too fast: in less than that by 1.8, less 0.2 s. Too slow: in more than twice that and
    1.5 s. Of fewer than five clips, only what nobody can say is found.
    """
    by_language: dict[str | None, list[Clip]] = defaultdict(list)
    for clip in clips:
        by_language[clip.language].append(clip)
    found = {}
    for same in by_language.values():
        rates = [_letters(clip.text) / clip.seconds for clip in same]
        usual = median(rates) if len(same) >= _ENOUGH else None
        for clip, rate in zip(same, rates, strict=True):
            if detail := _detail(clip, rate, usual):
                found[clip.id] = detail
    return {clip.id: found[clip.id] for clip in clips if clip.id in found}


def _detail(clip: Clip, rate: float, usual: float | None) -> str | None:
    text = clip.text if len(clip.text) <= 40 else clip.text[:37] + "..."
    said = f"{text!r} in {clip.seconds:.1f} s is {rate:.1f} letters a second"
    if usual is None:
        return f"{said}, which nobody speaks" if rate > _IMPOSSIBLE else None
    wanted = _letters(clip.text) / usual
    fast, slow = _SLACK_SECONDS
    if clip.seconds < wanted / _FASTER - fast or rate > max(_IMPOSSIBLE, _FASTER * usual):
        return f"{said}, too fast: the others have {usual:.1f}"
    if clip.seconds > wanted * _SLOWER + slow:
        return f"{said}, too slow: the others have {usual:.1f}"
    return None


def _letters(text: str) -> float:
    """How much there is to say: letters, and digits as words."""
    return sum(_DIGIT if c.isdigit() else 1.0 for c in text if c.isalnum())
