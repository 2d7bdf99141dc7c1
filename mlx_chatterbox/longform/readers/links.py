"""Contents pages and lists of pictures that are made of links.

EPUB 3 marks a table of contents with `nav`; EPUB 2 does not, so it is recognised here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from .markup import BLOCKS, HEADINGS, Element, End
from .notes import ChapterFile, Resolve

# A heading, or a line, above such a list.
_TITLE = re.compile(
    r"[\W_]*(?:(?:the\s+)?(?:table\s+of\s+)?contents|list\s+of\s+(?:illustrations|figures|maps|tables"
    r"|plates|chapters)|illustrations|chapters|inhalt(?:sverzeichnis)?|table\s+des\s+mati[eè]res"
    r"|sommaire|[ií]ndice|sum[aá]rio|conte[uú]do|contenido|tabla\s+de\s+contenidos?|inhoud(?:sopgave)?"
    r"|inneh[aå]ll|indhold|innhold|sis[aä]llys|obsah|tartalom|spis\s+tre[sś]ci|содержание|оглавление"
    r"|目次|目录|目錄|차례|목차)[\W_]*",
    re.IGNORECASE,
)
# Text between the links: numbers of pages, and the dots before them.
_BESIDE = re.compile(r"(?:[\W\d_]|\b(?:page|pp?|[ivxlc]{1,7})\b)*", re.IGNORECASE)
_WORD = re.compile(r"[^\W_]+")
_FEWEST, _LONGEST_BETWEEN = 3, 60


@dataclass
class _Line:
    """The content of one line.

    Attributes:
        begin, end: indices of its events, `end` excluded.
        text: its whole text.
        beside: its text outside links.
        links: text and address of each link.
    """

    begin: int
    end: int = 0
    text: str = ""
    beside: str = ""
    links: list[tuple[str, str]] = field(default_factory=list)


def find_contents(chapters: Sequence[ChapterFile], resolved: Resolve) -> None:
    """Find such lists in each chapter, and fill in its attributes `silent` and `contents`.

    A list counts by its heading, or if its links lead to headings of the same words.

    Args:
        resolved: from a file's name and an address in it to a file's name.
    """
    by_name = {chapter.name: chapter for chapter in chapters}
    for chapter in chapters:
        lines = [line for line in _lines(chapter) if line.text.strip()]
        at = 0
        while at < len(lines):
            if not _is_link(lines[at], chapter, by_name, resolved):
                at += 1
                continue
            end = _end_of_run(lines, at, chapter, by_name, resolved)
            title = _title_over(lines, at)
            run = lines[at:end]
            if title is not None or _leads_to_its_words(run, chapter, by_name, resolved):
                for line in lines[at if title is None else title : end]:
                    chapter.silent.update(range(line.begin, line.end))
                chapter.contents += 1
            at = end


def _lines(chapter: ChapterFile) -> Iterator[_Line]:
    line, link = _Line(0), None
    for at, event in enumerate(chapter.markup.events):
        if isinstance(event, str):
            line.text += event
            if link is None:
                line.beside += event
            else:
                line.links[-1] = (line.links[-1][0] + event, link.get("href"))
            continue
        element = event.element if isinstance(event, End) else event
        if element.tag == "a" and element.get("href"):
            link = None if isinstance(event, End) else event
            if link is not None:
                line.links.append(("", link.get("href")))
        elif element.tag in BLOCKS or element.tag in HEADINGS or element.tag in ("br", "hr"):
            line.end = at
            yield line
            line = _Line(at + 1)
            if link is not None:
                line.links.append(("", link.get("href")))
    line.end = len(chapter.markup.events)
    yield line


def _target(
    address: str, chapter: ChapterFile, by_name: Mapping[str, ChapterFile], resolved: Resolve
) -> tuple[ChapterFile, str] | None:
    """The chapter and the id that a link leads to; None if it leads out of the book."""
    path, _, fragment = address.partition("#")
    if re.match(r"[a-z][a-z0-9+.-]*:", path, re.IGNORECASE):
        return None
    target = by_name.get(resolved(chapter.name, path) if path else chapter.name)
    if target is None or (target is chapter and fragment not in chapter.ids):
        return None
    return target, fragment


def _is_link(
    line: _Line, chapter: ChapterFile, by_name: Mapping[str, ChapterFile], resolved: Resolve
) -> bool:
    """Tell whether a line is nothing but links to elsewhere in the book."""
    words = [text for text, _ in line.links if any(map(str.isalpha, text))]
    if not words or _BESIDE.fullmatch(line.beside) is None:
        return False
    return all(_target(address, chapter, by_name, resolved) for _, address in line.links)


def _title_over(lines: Sequence[_Line], at: int) -> int | None:
    """The index of a list's title, perhaps with a short line such as "Part One" after it."""
    for place in range(at - 1, max(-1, at - 3), -1):
        text = " ".join(lines[place].text.split())
        if _TITLE.fullmatch(text):
            return place
        if not _is_between(lines[place]):
            break
    return None


def _is_between(line: _Line) -> bool:
    text = " ".join(line.text.split())
    return len(text) <= _LONGEST_BETWEEN and text[-1:] not in ".!?" and not line.links


def _end_of_run(
    lines: Sequence[_Line],
    at: int,
    chapter: ChapterFile,
    by_name: Mapping[str, ChapterFile],
    resolved: Resolve,
) -> int:
    """The end of a list, which may have short lines without links in it, such as "Part One"."""
    end = at + 1
    while end < len(lines):
        if _is_link(lines[end], chapter, by_name, resolved):
            end += 1
            continue
        follows = end + 1 < len(lines) and _is_link(lines[end + 1], chapter, by_name, resolved)
        # The target of a link is not part of the list.
        if not (_is_between(lines[end]) and follows) or _is_target(lines[end], chapter):
            break
        end += 1
    return end


def _is_target(line: _Line, chapter: ChapterFile) -> bool:
    """Tell whether a line is a heading, or has the beginning of an element with an id."""
    inside = chapter.markup.events[max(0, line.begin - 1) : line.end]
    return any(
        isinstance(each, Element) and (each.tag in HEADINGS or bool(each.get("id")))
        for each in inside
    )


def _leads_to_its_words(
    run: Sequence[_Line],
    chapter: ChapterFile,
    by_name: Mapping[str, ChapterFile],
    resolved: Resolve,
) -> bool:
    """Tell whether most links of a list have the words of the headings that they lead to."""
    links = [link for line in run for link in line.links]
    if len(links) < _FEWEST:
        return False
    same = 0
    for text, address in links:
        target, fragment = _target(address, chapter, by_name, resolved) or (None, "")
        words = _words(text)
        there = _words(_heading_at(target, fragment)) if target is not None else ""
        same += bool(words and there) and (f" {words} " in there or f" {there.strip()} " in words)
    return same * 2 > len(links)


def _words(text: str) -> str:
    return f" {' '.join(_WORD.findall(text.casefold()))} "


def _heading_at(chapter: ChapterFile, fragment: str) -> str:
    """The text of the first headings at or after an id of a chapter."""
    element = chapter.ids.get(fragment)
    events = chapter.markup.events
    first = element.begin if element is not None else 0
    parent = element.parent if element is not None else None
    while parent is not None and parent.tag not in HEADINGS:
        parent = parent.parent
    if parent is not None:
        first = parent.begin
    headings, letters = [], 0
    for event in events[first : first + 80]:
        if isinstance(event, Element) and event.tag in HEADINGS:
            headings.append(chapter.markup.words(event, 200))
        elif isinstance(event, str):
            letters += len(event.strip())
        if letters > 300:
            break
    return " ".join(headings)
