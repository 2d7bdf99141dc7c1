"""Plain text of any length as pieces to speak."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..text.scripts import flowed
from ..text.sentence_rules import sentence_rules_for
from .blocks import Block, plan_blocks
from .pages import remark_of, without_pages
from .plan import LONGEST, Document, Piece

_EMPTY_LINES = re.compile(r"\n[^\S\n]*(?:\n[^\S\n]*)+")
_LONGEST_HEADING = 100
_SENTENCE_ENDS = tuple(".!?,;。！？，")
_NUMBER = re.compile(r"(?:[IVXLC]{1,7}|\d{1,3})\.?")
_CJK_CHAPTER = re.compile(
    r"第\s*[0-9０-９一二三四五六七八九十百千〇零两]+\s*[章回节節話话部卷篇]|제\s*\d+\s*[장부화편]"
)


def plan_text(
    text: str, language: str | None = "en", longest: int = LONGEST["english"]
) -> list[Piece]:
    """Cut a plain text into paragraphs at empty lines, and into sentences by its language's rules.

    `[pause 0.8s]` in it is silence. A paragraph of a line or two that begins with the language's
    word for a chapter ("Chapter 3", "Kapitel 3"), or is a number, is a heading.

    Args:
        language: a code; None cuts as English.
        longest: most Latin letters of a piece; `plan.LONGEST` has each variant's, `plan.longest_of`
            a checkpoint's. A Chinese character counts as three, by the time that it takes to speak.

    Returns:
        Pieces in order; none for a text without letters.

    Raises:
        TextError: a `[pause ...]` is malformed, or over a minute.
    """
    return document_of_text(text, language, longest).pieces


def document_of_text(
    text: str, language: str | None = "en", longest: int = LONGEST["english"]
) -> Document:
    """Cut a plain text as `plan_text` does; the document has remarks on what is left out."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n\f\n")
    text, pages = without_pages(text, lambda line: _begins_chapter(flowed(line), language))
    pieces = plan_blocks(plain_blocks(text, language), language, longest)
    return Document(pieces=pieces, remarks=tuple(remark_of(pages)))


def plain_blocks(text: str, language: str | None = "en") -> Iterator[Block]:
    """Yield the paragraphs, headings and breaks of a plain text."""
    text = text.replace("\f", "\n\n")
    for part in _EMPTY_LINES.split(text.replace("\u2029", "\n\n").strip()):
        line = flowed(part)
        if not line:
            continue
        if _is_heading([flowed(each) for each in part.strip().split("\n")], language):
            yield Block("heading", line)
        elif not any(map(str.isalnum, line)):
            yield Block("break")
        else:
            yield Block("paragraph", part)


def _is_heading(lines: list[str], language: str | None) -> bool:
    """Tell whether lines are a heading: "Chapter 3", "II.", or "CHAPTER I." above a title."""
    first, rest = lines[0], lines[1:]
    if sum(map(len, lines)) > _LONGEST_HEADING or len(rest) > 2:
        return False
    if any(line[-1:] in _SENTENCE_ENDS for line in rest):
        return False
    return bool(_NUMBER.fullmatch(first)) or _begins_chapter(first, language)


def _begins_chapter(first: str, language: str | None) -> bool:
    """Tell whether a line is a heading by its words: "Chapter 3"."""
    if len(first) > _LONGEST_HEADING:
        return False
    if _CJK_CHAPTER.match(first):
        return first[-1] not in _SENTENCE_ENDS
    words = first.lower().replace(".", " ").replace(":", " ").split()
    if not words or words[0] not in sentence_rules_for(language).chapters:
        return False
    # "Part of me wanted to go." is not a heading; "Part Two: The Sea" is.
    return first[-1] not in _SENTENCE_ENDS or len(words) <= 3
