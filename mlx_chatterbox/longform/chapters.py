"""The chapters of a document: their list, their expected length, and a choice of some of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ..errors import SettingError
from ..text.scripts import is_unspaced, spoken_length
from .plan import Document

# Latin letters that a speaker reads in a second.
_LETTERS_PER_SECOND = 15.0


@dataclass(frozen=True)
class Chapter:
    """One chapter.

    Attributes:
        number: from 1; text before the first heading counts as a chapter, as it does in an M4B.
        first, end: index of its first piece, and the index after its last.
        words: number of words; of characters in a script without spaces.
        seconds: expected length at an ordinary speaking rate, pauses included.
    """

    number: int
    title: str
    first: int
    end: int
    words: int
    seconds: float


def chapters_of(document: Document) -> list[Chapter]:
    """List all chapters of a document, at least one."""
    pieces = document.pieces
    starts = [at for at, piece in enumerate(pieces) if piece.chapter is not None]
    if not starts or starts[0] > 0:
        starts.insert(0, 0)
    chapters = []
    for number, (first, end) in enumerate(
        zip(starts, [*starts[1:], len(pieces)], strict=True), start=1
    ):
        own = pieces[first:end]
        title = own[0].chapter if own else None
        seconds = sum(spoken_length(p.text) / _LETTERS_PER_SECOND + p.pause for p in own)
        words = sum(_words(piece.text) for piece in own)
        title = title or document.title or "Beginning"
        chapters.append(Chapter(number, title, first, end, words, seconds))
    return chapters


def choose(document: Document, numbers: Sequence[int], name: str) -> Document:
    """Make a document of some chapters, in the order of the whole.

    Args:
        numbers: of the chapters, from 1.
        name: of the file, for messages.

    Raises:
        SettingError: there is no chapter of that number.
    """
    chapters = chapters_of(document)
    wrong = sorted({number for number in numbers if not 1 <= number <= len(chapters)})
    if wrong:
        shown, count = spans(wrong), len(chapters)
        has = "1 chapter" if count == 1 else f"{count} chapters, 1 to {count}"
        raise SettingError(f"--chapters {shown}: {name} has {has} (--list-chapters shows them).")
    wanted = sorted(set(numbers))
    places = [
        place
        for number in wanted
        for place in range(chapters[number - 1].first, chapters[number - 1].end)
    ]
    pieces = [document.pieces[place] for place in places]
    # Nothing follows the last one.
    if pieces and places[-1] + 1 < len(document.pieces):
        pieces[-1] = replace(pieces[-1], pause=0.0)
    return replace(
        document, pieces=pieces, chapters=tuple(wanted), whole=document, places=tuple(places)
    )


def listing(document: Document) -> list[str]:
    """Make a table with a line for each chapter: number, words, expected minutes, title."""
    chapters = chapters_of(document)
    lines = [" no.    words  minutes  title"]
    for chapter in chapters:
        lines.append(
            f"{chapter.number:4d} {chapter.words:8d} {chapter.seconds / 60:8.1f}  {chapter.title}"
        )
    words = sum(chapter.words for chapter in chapters)
    minutes = sum(chapter.seconds for chapter in chapters) / 60
    lines.append(f" all {words:8d} {minutes:8.1f}")
    return lines


def spans(numbers: Iterable[int]) -> str:
    """Write numbers as the command line takes them: 2-5,8."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)


def _words(text: str) -> int:
    unspaced = sum(map(is_unspaced, text)) if not text.isascii() else 0
    if unspaced:
        return unspaced
    return sum(any(map(str.isalnum, word)) for word in text.split())
