"""Silence that a text asks for: `[pause 0.8s]`, `[pause 500ms]`, or `[pause]` for half a second."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from ..errors import TextError
from .clauses import pieces

# A `[pause]` without a number.
PLAIN_PAUSE = 0.5
LONGEST_PAUSE = 60.0
# The limit of all pauses in a text whose audio is held in memory: 170 MB of samples.
LONGEST_SILENCE = 1800.0
_PAUSE = re.compile(r"\[\s*pause\b([^\]]{0,80})\]", re.IGNORECASE)
_SECONDS = re.compile(
    r"\s*[:=]?\s*(\d+(?:[.,]\d+)?|[.,]\d+)\s*(ms|milliseconds|s|sec|seconds?)?\s*$"
)


@dataclass(frozen=True)
class Segment:
    """A part of a text that is spoken in one go, and the seconds of silence around it."""

    text: str
    pause_before: float = 0.0
    pause_after: float = 0.0


def segments(text: str, longest: int, language: str | None) -> list[Segment]:
    """Cut a text at its pauses, and the parts between them into pieces (`clauses.pieces`).

    Returns:
        At least one; with an empty text if there is nothing but pauses.

    Raises:
        TextError: a `[pause ...]` is badly written or over a minute; together they are over half
            an hour.
    """
    parts = at_pauses(text)
    together = sum(seconds for _, seconds in parts)
    if together > LONGEST_SILENCE:
        raise TextError(
            f"the pauses of a text last {together:.0f} s together, more than {LONGEST_SILENCE:.0f} "
            "s: speak it in parts, or as paragraphs of a --file."
        )
    if len(parts) == 1:
        return [Segment(piece) for piece in pieces(text, longest, language)]
    cut: list[Segment] = []
    before = 0.0
    for part, seconds in parts:
        if any(map(str.isalnum, part)):
            cut += [Segment(piece) for piece in pieces(part.strip(), longest, language)]
        if cut:
            cut[-1] = replace(cut[-1], pause_after=cut[-1].pause_after + seconds)
        else:
            before += seconds
    if not cut:
        return [Segment("")]
    return [replace(cut[0], pause_before=before), *cut[1:]]


def without_pauses(text: str) -> str:
    """Remove the pauses from a text, also badly written ones."""
    return _PAUSE.sub(" ", text)


def between_pauses(text: str, change: Callable[[str], str]) -> str:
    """Change the parts of a text between its pauses, which stay as they are written."""
    parts, done = [], 0
    for match in _PAUSE.finditer(text):
        parts += [change(text[done : match.start()]), match.group()]
        done = match.end()
    return "".join([*parts, change(text[done:])])


def at_pauses(text: str) -> list[tuple[str, float]]:
    """The parts of a text between its pauses, each with the seconds of silence after it.

    Raises:
        TextError: as `segments`.
    """
    # Texts and the lengths of pauses, by turns.
    parts = _PAUSE.split(text)
    return [
        (part, 0.0 if length is None else _seconds(length))
        for part, length in zip(parts[::2], [*parts[1::2], None], strict=True)
    ]


def _seconds(text: str) -> float:
    """Parse the length in `[pause 0.8s]` to seconds."""
    if not text.strip():
        return PLAIN_PAUSE
    match = _SECONDS.match(text.lower())
    if match is None:
        raise TextError(f"[pause{text}] is not a pause: write [pause 0.8s] or [pause 500ms].")
    seconds = float(match.group(1).replace(",", "."))
    if (match.group(2) or "s").startswith("m"):
        seconds /= 1000
    if seconds > LONGEST_PAUSE:
        raise TextError(f"[pause{text}] is over {LONGEST_PAUSE:.0f} s.")
    return seconds
