"""A document's paragraphs, headings and breaks as pieces to speak; every reader makes blocks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from ..text.clauses import pieces
from ..text.pauses import at_pauses
from ..text.scripts import flowed, glue, is_unspaced, measured
from .plan import Piece, checked_count

# Seconds of silence after a piece, by its last mark; the longest pause that applies counts.
SENTENCE, ELLIPSIS, CLAUSE, COMMA = 0.35, 0.5, 0.25, 0.15
PARAGRAPH, BREAK = 0.7, 1.5
BEFORE_HEADING, AFTER_HEADING = 1.5, 0.9
# Paragraphs shorter than this are spoken together with their neighbours, since the models speak
# single words badly. In Latin letters, and as a fraction of the longest piece; the smaller counts.
_SHORT, _SHORT_PART = 40, 0.25
_CLOSING = "\"'”’»›“‘«‹)]}）］｝」』】〉》 "
_ENDS = ".!?。！？｡؟۔।॥;\u037e"


@dataclass(frozen=True)
class Block:
    """Part of a document.

    Attributes:
        kind: "paragraph", "heading", "chapter" (a title that is not spoken) or "break" (a line
            between scenes; no text).
        text: its lines; `[pause 0.8s]` in it is silence.
        level: of a heading, 1 the highest; 0 stands outside the levels.
        title: of the chapter that begins at a heading, if it differs from the heading; "" if no
            chapter begins there; None if its level decides.
    """

    kind: str
    text: str = ""
    level: int = 1
    title: str | None = None


def plan_blocks(blocks: Iterable[Block], language: str | None, longest: int) -> list[Piece]:
    """Turn blocks into pieces to speak.

    Headings are pieces of their own with silence around them; those of the two highest levels in
    use begin chapters. Short paragraphs are joined, long ones cut at sentences and clauses.

    Args:
        longest: most characters of a piece, in Latin letters.

    Raises:
        TextError: a `[pause ...]` is malformed, or over a minute.
    """
    blocks = list(blocks)
    levels = sorted({each.level for each in blocks if each.kind == "heading" and each.level})[:2]
    plan = _Plan(language, longest)
    for block in blocks:
        text = flowed(block.text)
        if block.kind == "break":
            plan.silence(BREAK)
        elif block.kind == "chapter":
            plan.chapter(text)
        elif block.kind == "heading":
            title = text if block.title is None and block.level in levels else block.title
            plan.heading(text, title)
        else:
            plan.paragraph(text)
    return plan.finished()


class _Plan:
    """The pieces so far, and a short paragraph that waits to be joined with its neighbour."""

    def __init__(self, language: str | None, longest: int):
        self._language = language
        self._longest = longest
        self._pieces: list[Piece] = []
        self._waiting = ""
        self._title: str | None = None
        # The number of pieces when the text last had a `[pause ...]`.
        self._named_at = 0

    def paragraph(self, text: str) -> None:
        parts = at_pauses(text)
        for part, seconds in parts:
            if any(map(str.isalnum, part)):
                self._add(part.strip())
            elif len(parts) == 1 and self._pieces and part:
                self.silence(BREAK)
            if seconds:
                self._add_named_pause(seconds)

    def heading(self, text: str, title: str | None) -> None:
        text = _without_pauses(text)
        self.silence(BEFORE_HEADING)
        if not any(map(str.isalnum, text)):
            return
        if title:
            self._title = _without_pauses(title)
        self._speak(text)
        self.silence(AFTER_HEADING)

    def chapter(self, title: str) -> None:
        self._flush()
        self._title = title or None

    def silence(self, seconds: float) -> None:
        """Make the pause after the last piece at least this long; no effect before the first."""
        self._flush()
        if self._pieces:
            last = self._pieces[-1]
            self._pieces[-1] = replace(last, pause=max(last.pause, seconds))

    def finished(self) -> list[Piece]:
        self._flush()
        # Nothing follows, so only a `[pause ...]` stays.
        if self._pieces and self._named_at != len(self._pieces):
            self._pieces[-1] = replace(self._pieces[-1], pause=0.0)
        return self._pieces

    def _add_named_pause(self, seconds: float) -> None:
        """Add a `[pause ...]`, which replaces the pause of the punctuation; two of them add up."""
        self._flush()
        if not self._pieces:
            self._pieces.append(Piece("", seconds, self._take_title()))
        else:
            last = self._pieces[-1]
            before = last.pause if self._named_at == len(self._pieces) else 0.0
            self._pieces[-1] = replace(last, pause=before + seconds)
        self._named_at = checked_count(len(self._pieces))

    def _add(self, text: str) -> None:
        text = self._waiting + glue(self._waiting, text) + text
        self._waiting = ""
        if measured(text, self._longest) < min(_SHORT, _SHORT_PART * self._longest):
            self._waiting = _with_end(text)
        else:
            self._speak(text)
            self.silence(PARAGRAPH)

    def _flush(self) -> None:
        """Speak the waiting paragraph, joined to the piece before it if both fit in one."""
        text, self._waiting = self._waiting, ""
        if not text:
            return
        last = self._pieces[-1] if self._pieces else None
        if (
            last is not None
            and last.text
            and last.pause <= PARAGRAPH
            and self._title is None
            and self._named_at != len(self._pieces)
            and last.chapter is None
        ):
            start = _with_end(last.text)
            both = start + glue(start, text) + text
            if measured(both, self._longest) <= self._longest:
                self._pieces[-1] = replace(last, text=both)
                return
        self._speak(text)
        self.silence(PARAGRAPH)

    def _speak(self, text: str) -> None:
        for part in pieces(text, self._longest, self._language):
            self._pieces.append(Piece(part, pause_after(part), self._take_title()))
        checked_count(len(self._pieces))

    def _take_title(self) -> str | None:
        title, self._title = self._title, None
        return title


def pause_after(text: str) -> float:
    """Seconds of silence after a piece, by the mark that it ends in."""
    bare = text.rstrip(_CLOSING)
    if bare.endswith(("...", "…")):
        return ELLIPSIS
    if bare.endswith(tuple(_ENDS)):
        return SENTENCE
    if bare.endswith((";", ":", "—", "–", "；", "：", "؛", " -", "·")):
        return CLAUSE
    return COMMA if bare.endswith((",", "，", "、", "،")) else 0.0


def _without_pauses(text: str) -> str:
    return flowed(" ".join(part for part, _ in at_pauses(text)))


def _with_end(text: str) -> str:
    """Add a full stop to a line that ends in a letter or digit, since another line follows it."""
    bare = text.rstrip(_CLOSING)
    if not bare or not bare[-1].isalnum():
        return text
    stop = "।" if "\u0900" <= bare[-1] <= "\u097f" else "。" if is_unspaced(bare[-1]) else "."
    return text + stop
