"""A book's table of contents, and the choice of its chapters' titles from it or from headings."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from xml.etree import ElementTree

from ...text.scripts import flowed
from ...text.sentence_rules import RULES
from ..blocks import Block
from .markup import Element, End, Markup
from .notes import TITLE

_ROMAN = r"(?=[ivxlc])c{0,3}(?:xc|xl|l?x{0,3})(?:ix|iv|v?i{0,3})"
_SPELT = (
    "one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen"
    "|sixteen|seventeen|eighteen|nineteen|twenty|first|second|third"
)
_NUMBER = re.compile(rf"[\W_]*(?:\d{{1,4}}|{_ROMAN.upper()})[\W_]*")
_BARE = re.compile(rf"[\W_]*(?:\d{{1,4}}|{_ROMAN}|{_SPELT})[\W_]*", re.IGNORECASE)
# "Chapter 4", "Kapitel 4", "4. fejezet", "第四章".
_WORDS = "|".join(sorted({re.escape(word) for rules in RULES.values() for word in rules.chapters}))
_COUNTED = re.compile(
    rf"[\W_]*(?:(?:{_WORDS}|section|letter|chap)\W+)?(?:\d{{1,4}}|{_ROMAN}|{_SPELT})"
    rf"(?:\W+(?:{_WORDS}))?[\W_]*|第.{{1,5}}[章回話话節节]",
    re.IGNORECASE,
)
_NO_TITLE = re.compile(
    r"\s*(?:untitled.*|unknown|start|\S+\.x?html?\S*|(?:index_)?split[_\d]+|section[-_]?\d+|\W*)\s*",
    re.IGNORECASE,
)
_ZERO = re.compile(r"^(\W{0,2})0(?=[1-9]\d?(?:\W|$)(?![.:,]?\d))")
_ZERO_AT_END = re.compile(r"(?<=[^\W\d_] )0(?=[1-9]\d?$)")
_FOOTNOTE = re.compile(r"\s*\[Footnote\s*[\dA-Z*†]{0,4}\s?[:.]", re.IGNORECASE)
_BRACKETED_MARK = re.compile(r"(?<=[^\s\[])\s?\[(?:\d{1,3}|[A-Z]|\*|†)\]")
# Levels of a table of contents that are read: parts and chapters, but not their sections.
DEPTH = 2
# Most characters before a chapter's heading, such as a date or a motto.
_SHORT = 120
_LONGEST_HEADING = 100


@dataclass(frozen=True)
class ContentsEntry:
    """A title in a table of contents, and its address relative to the folder of that file."""

    address: str
    title: str


def entries_of_nav(text: str) -> list[ContentsEntry]:
    """Read the navigation document of an EPUB 3: its table of contents, else all its links."""
    markup = Markup(text)
    navs = [each for each in markup.events if isinstance(each, Element) and each.tag == "nav"]
    chosen = [nav for nav in navs if "toc" in nav.types] or [nav for nav in navs if not nav.types]
    spans = [(nav.begin, nav.end) for nav in chosen] or [(0, len(markup.events))]
    entries: list[ContentsEntry] = []
    words: list[str] = []
    last = 0
    for begin, end in spans:
        if begin < last:
            continue  # inside the one before
        last = end
        link, words, depth = None, [], 0
        for event in markup.events[begin:end]:
            tag = getattr(getattr(event, "element", event), "tag", "")
            if tag in ("ol", "ul"):
                depth += 1 if isinstance(event, Element) else -1
            elif isinstance(event, Element) and tag == "a":
                link, words = (event if depth <= DEPTH else None), []
            elif isinstance(event, End) and event.element is link and link is not None:
                title = " ".join("".join(words).split())
                entries.append(ContentsEntry(link.get("href"), title))
                link = None
            elif isinstance(event, str):
                words.append(event)
    return entries


def entries_of_ncx(root: ElementTree.Element) -> list[ContentsEntry]:
    """Read the table of contents of an EPUB 2 (`toc.ncx`)."""
    entries = []
    waiting = [(point, 1) for point in reversed(root.findall(".//navMap/navPoint"))]
    while waiting:
        point, depth = waiting.pop()
        content, label = point.find("./content"), point.find("./navLabel/text")
        if content is not None and label is not None:
            title = " ".join("".join(label.itertext()).split())
            entries.append(ContentsEntry(content.get("src", ""), title))
        if depth < DEPTH:
            waiting += [(inner, depth + 1) for inner in reversed(point.findall("./navPoint"))]
    return entries


def shaped(blocks: Iterable[Block], left_out: Counter[str]) -> list[Block]:
    """Clean up the blocks of a file.

    Headings of notes are removed, numbers are joined to the headings that they count, and chapters
    take their titles from the table of contents where these are better.

    Args:
        left_out: counts the notes that are removed here.
    """
    rest = _without_bracketed_notes(blocks, left_out)
    return _titled(_numbered(_without_headings_of_notes(rest)))


def _without_bracketed_notes(blocks: Iterable[Block], left_out: Counter[str]) -> list[Block]:
    """Remove the notes of Project Gutenberg's oldest books, "[Footnote 1: ...]", and their marks.

    A note ends where its bracket is closed, within some paragraphs.
    """
    blocks = list(blocks)
    if not any(_FOOTNOTE.match(block.text) for block in blocks):
        return blocks
    kept: list[Block] = []
    at = 0
    while at < len(blocks):
        block = blocks[at]
        last = _end_of_bracket(blocks, at) if _FOOTNOTE.match(block.text) else None
        if last is None:
            kept.append(replace(block, text=_BRACKETED_MARK.sub("", block.text)))
            at += 1
        else:
            kept.append(Block("note"))
            left_out["note"] += 1
            at = last + 1
    return kept


def _end_of_bracket(blocks: Sequence[Block], at: int) -> int | None:
    """The index of the paragraph that closes a bracket; None if none of the next 20 does."""
    depth = 0
    for place in range(at, min(at + 20, len(blocks))):
        if blocks[place].kind != "paragraph":
            return None
        depth += blocks[place].text.count("[") - blocks[place].text.count("]")
        if depth <= 0:
            return place
    return None


def _without_headings_of_notes(blocks: list[Block]) -> list[Block]:
    """Remove the headings that have nothing but notes below them."""
    kept: list[Block] = []
    following: Block | None = None
    notes = False
    among_notes = _among_notes(blocks)
    for at in range(len(blocks) - 1, -1, -1):
        block = blocks[at]
        if block.kind == "note":
            notes = True
            continue
        if block.kind in ("heading", "paragraph"):
            if notes and TITLE.fullmatch(flowed(block.text)):
                continue
            empty = following is None or (
                following.kind == "heading" and following.level <= block.level
            )
            if notes and empty and at in among_notes:
                continue
            following, notes = block, False
        kept.append(block)
    return kept[::-1]


def _among_notes(blocks: Sequence[Block]) -> set[int]:
    """Indices of headings inside a list of notes, such as "Chapter 1".

    They are below a heading of notes, or in a file without paragraphs of its own.
    """
    titles = [each.kind != "note" and bool(TITLE.fullmatch(flowed(each.text))) for each in blocks]
    all_notes = not any(
        block.kind == "paragraph" and not title for block, title in zip(blocks, titles, strict=True)
    )
    headings, above = set(), 0
    for at, block in enumerate(blocks):
        if block.kind != "heading":
            continue
        if titles[at]:
            above = block.level
        elif all_notes or (above and block.level > above):
            headings.add(at)
        else:
            above = 0
    return headings


def _numbered(blocks: list[Block]) -> list[Block]:
    """Join numbers to the headings below them: "01" above "The Boy" becomes "1. The Boy"."""
    result: list[Block] = []
    for block in blocks:
        if block.kind == "heading":
            text = _ZERO_AT_END.sub("", _ZERO.sub(r"\1", flowed(block.text)))
            block = replace(block, text=text if text != flowed(block.text) else block.text)
            at = len(result) - 1
            while at >= 0 and result[at].kind == "entry":
                at -= 1
            if at >= 0 and _worth(text) > 2 and _is_number(result, at):
                over = result.pop(at)
                number = _ZERO.sub(r"\1", flowed(over.text)).strip(" .:)-–—")
                level = min(block.level, over.level if over.kind == "heading" else block.level)
                block = Block("heading", f"{number}. {text}", level)
        result.append(block)
    return result


def _is_number(blocks: Sequence[Block], at: int) -> bool:
    block = blocks[at]
    if not _NUMBER.fullmatch(flowed(block.text) or "-"):
        return False
    # A paragraph counts if it is the first of the chapter.
    return block.kind == "heading" or (
        block.kind == "paragraph" and not any(each.kind != "entry" for each in blocks[:at])
    )


def _titled(blocks: list[Block]) -> list[Block]:
    """Set titles from entries of the table of contents: in their headings, else as new chapters."""
    result: list[Block] = []
    entries: list[str] = []
    for at, block in enumerate(blocks):
        if block.kind == "entry":
            entries.append(block.text)
        elif block.kind == "heading":
            text = flowed(block.text)
            if entries:
                title = better_title(text, _nearest(text, entries))
                block = replace(block, title=title)
                entries = []
            elif result and result[-1].kind == "heading" and _is_within(text, result[-1].title):
                block = replace(block, title="")
            result.append(block)
        elif block.kind == "paragraph" and not entries and _is_rest(result, block):
            result[-1] = _with_rest(result[-1], block)
        elif block.kind == "paragraph" and entries and not _heading_is_near(blocks, at):
            _place(result, block, entries[-1])
            entries = []
        else:
            result.append(block)
    return result


def _is_rest(before: Sequence[Block], block: Block) -> bool:
    """Tell whether a paragraph is the title of a number above it, as the contents have both."""
    if not before or before[-1].kind != "heading" or not before[-1].title:
        return False
    text = flowed(block.text)
    is_short = len(text) <= _LONGEST_HEADING and text.count(".") < 2
    over = flowed(before[-1].text)
    return is_short and _worth(over) < 3 and text != over and _is_within(text, before[-1].title)


def _with_rest(heading: Block, block: Block) -> Block:
    over = flowed(heading.text)
    return replace(heading, text=f"{over.rstrip('.:')}. {flowed(block.text)}")


def _place(before: list[Block], block: Block, title: str) -> None:
    """Append a paragraph that an entry leads to, with the entry's title where it belongs."""
    text = flowed(block.text)
    over = flowed(before[-1].text) if before and before[-1].kind == "heading" else ""
    if over and (_is_within(over, title) or _worth(over) < 2):
        before[-1] = replace(before[-1], title=better_title(over, title))
    elif len(text) <= _LONGEST_HEADING and _is_within(text, title):
        before.append(Block("heading", block.text, 0, better_title(text, title)))
        return
    else:
        before += [Block("break"), Block("chapter", title)]
    before.append(block)


def _heading_is_near(blocks: Sequence[Block], at: int) -> bool:
    """Tell whether a chapter's heading follows after a short line or two."""
    length = 0
    for block in blocks[at : at + 4]:
        if block.kind == "heading":
            return True
        length += len(block.text)
        if length > _SHORT or block.kind == "entry":
            return False
    return False


def _nearest(text: str, entries: Sequence[str]) -> str:
    """The entry that shares most words with a heading; the last of equal ones."""
    words = set(_letters(text).split())
    return max(reversed(entries), key=lambda entry: len(words & set(_letters(entry).split())))


def better_title(heading: str, entry: str) -> str:
    """Choose a chapter's title: its heading, or the entry in the table of contents."""
    if _worth(entry) > _worth(heading):
        return entry
    if _worth(entry) == _worth(heading) and _is_within(heading, entry):
        return entry
    return heading


def _worth(title: str) -> int:
    if not title or _NO_TITLE.fullmatch(title):
        return 0
    if _BARE.fullmatch(title):
        return 1
    return 2 if _COUNTED.fullmatch(title) else 3


def _letters(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))


def _is_within(text: str, title: str | None) -> bool:
    """Tell whether a title contains a text, word for word."""
    words = _letters(text)
    if not words or not title:
        return False
    return f" {words} " in f" {_letters(title)} "
