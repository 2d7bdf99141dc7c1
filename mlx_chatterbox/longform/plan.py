"""What a long text is made of: pieces that the model says at once, and pauses between them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..text.clauses import pieces

# Characters that a variant says best at once.
LONGEST = {"english": 300, "multilingual": 300, "turbo": 300, "nano": 300}


@dataclass(frozen=True)
class Piece:
    """One pass of the model.

    Attributes:
        text: what is spoken; "" for a pause alone.
        pause: seconds of silence behind it.
        chapter: title of the chapter (heading) that begins here.
        start: seconds; of subtitles: where it is to begin in the output.
        end: seconds; of subtitles: where it is to have ended.
    """

    text: str
    pause: float = 0.0
    chapter: str | None = None
    start: float | None = None
    end: float | None = None


def plan_text(text: str, language: str = "en", longest: int = 300) -> list[Piece]:
    """Cut a text into pieces of at most `longest` characters."""
    planned = []
    for paragraph in re.split(r"\n\s*\n", text):
        said = pieces(paragraph, longest) if paragraph.strip() else []
        planned += [Piece(piece, 0.25) for piece in said[:-1]]
        planned += [Piece(piece, 0.6) for piece in said[-1:]]
    return planned
