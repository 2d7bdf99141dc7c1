"""The XHTML of a book's chapter as blocks; malformed HTML is read too."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from ..blocks import Block
from .dropcaps import is_cap, joins, letter_of, repeats
from .markup import BLOCKS, HEADINGS, VOID, Element, End, Event, Markup
from .notes import ChapterFile, find_notes, is_back_link
from .raised import MARK, Raised
from .styles import Styles

# Elements that are not spoken, with their content. A ruby reading would repeat its characters.
_LEFT_OUT = {
    **dict.fromkeys("head script style nav form iframe noscript template rt rp rtc".split(), ""),
    "table": "table",
    "pre": "passage of code",
    "math": "formula",
    "svg": "picture",
    **dict.fromkeys(("audio", "video", "object"), "recording or film"),
}
_TYPES = {"pagebreak": "", "toc": "", "index": "index", "landmarks": "", "page-list": ""}
# Numbers of pages, and of the lines of a poem.
_PAGE_CLASSES = re.compile(
    r"(?:[\w-]{1,20}[-_])?(?:page|pg|line)[-_]?(?:num(?:ber)?|nr|no|break|marker)s?\d?"
    r"|pb|pgs?|pages?|xxpn|folio|pagina",
    re.IGNORECASE,
)
# Events in a page number; a page of text has more.
_MOST_OF_A_NUMBER = 12
# An anchor of a page, such as id="page12": its number is the page's.
_PAGE_ID = re.compile(r"(?:page|pg|p)[-_.]{0,2}0{0,3}(\d{1,4}|[ivxlc]{1,7})", re.IGNORECASE)
_PAGE = re.compile(
    r"[\W_]*(?:(?:page|pg|p|seite|s)\.?\s*)?(?:\d{1,5}|[ivxlc]{1,8})[\W_]*", re.IGNORECASE
)
_RAISED_CLASS = re.compile(r"(?:sup|super|superscript|exponent)\d{0,2}", re.IGNORECASE)
# Most characters of a raised text; a longer one is small print.
_LONGEST_RAISED = 40
# Depth of tables for layout inside each other.
_MOST_NESTED = 4
# Characters of a cell that are more than a table's cells usually have.
_SENTENCES = 80


def xhtml_blocks(text: str) -> list[Block]:
    """List the headings, paragraphs and breaks of one file in order.

    Tables, code, notes and their marks, pictures and scripts are left out.
    """
    chapter = ChapterFile("", Markup(text))
    chapter.styles = Styles(chapter.markup.sheets)
    find_notes([chapter], lambda _, address: address, frozenset())
    reader = ChapterReader(chapter)
    return [block for block in reader.blocks() if block.kind != "note"]


class ChapterReader:
    """Turns a file into blocks.

    Attributes:
        left_out: numbers of things that were left out, by kind: "note", "table", ...
    """

    def __init__(self, chapter: ChapterFile, entries: Mapping[str, Sequence[str]] | None = None):
        """Args:
        entries: titles in the table of contents, by the fragment that they lead to.
        """
        self._chapter, self._entries = chapter, entries or {}
        self._events = chapter.markup.events
        self.left_out: Counter[str] = Counter()
        self._blocks: list[Block] = []
        self._words: list[str] = []
        self._looked_at = 0  # events within tables
        self._level = 0
        self._raised = Raised()
        # Titles of the table of contents for this paragraph, and for the next.
        self._before: list[str] = []
        self._next: list[str] = []
        self._has_text = False
        # A drop cap in a paragraph of its own.
        self._cap = ""

    def blocks(self) -> list[Block]:
        """Read the blocks of the file.

        There are two kinds besides those of `blocks.Block`: "entry", a title of the table of
        contents at its target, and "note", the place where a note was left out.
        """
        if self._chapter.contents:
            self.left_out["contents"] += self._chapter.contents
        at = 0
        while at < len(self._events):
            event = self._events[at]
            if at in self._chapter.silent and self._is_inline(event):
                pass
            elif isinstance(event, str):
                self._append_text(event)
            elif isinstance(event, End):
                self._end(event.element.tag)
            elif (then := self._begin(event)) is not None:
                at = then
                continue
            at += 1
        self._flush()
        self._blocks += [Block("entry", title) for title in self._next]
        return self._blocks

    @staticmethod
    def _is_inline(event: Event) -> bool:
        """Tell whether an event neither begins nor ends a paragraph."""
        if isinstance(event, str):
            return True
        tag = (event.element if isinstance(event, End) else event).tag
        return tag not in BLOCKS and tag not in HEADINGS and tag != "hr"

    def _begin(self, element: Element) -> int | None:
        """Read the beginning of an element; returns the next event's index if it is skipped."""
        tag = element.tag
        if not (reason := self._kind_left_out(element)):
            self._collect_titles(element)
        if reason is not None:
            self._leave_out(element, reason)
            return element.end + 1
        if tag in VOID:
            self._void(element)
        elif self._is_raised(element):
            return self._raise(element)
        elif tag == "span" and element.classes and not self._has_text:
            return self._cap_as_text(element)
        elif tag in HEADINGS and not _is_beside(element):
            self._flush()
            self._level = HEADINGS[tag]
        elif tag in HEADINGS or tag in BLOCKS:
            self._boundary()
        return None

    def _leave_out(self, element: Element, reason: str) -> None:
        if reason:
            self.left_out[reason] += 1
        if element.tag in BLOCKS or element.tag in HEADINGS:
            self._boundary()
        if reason == "note":
            self._blocks.append(Block("note"))

    def _append_text(self, text: str) -> None:
        self._words.append(text)
        self._has_text = self._has_text or bool(text.strip())

    def _kind_left_out(self, element: Element) -> str | None:
        """The kind of an element that is left out; "" if it is not reported, None if it stays."""
        tag = element.tag
        if element.begin in self._chapter.left_out:
            return self._chapter.left_out[element.begin]
        if tag in _LEFT_OUT:
            return self._kind_by_tag(element)
        if not element.attributes:
            return self._hidden(element)
        types = element.types
        if tag not in ("html", "body") or "index" in types:
            for kind in types & _TYPES.keys():
                return _TYPES[kind]
        leads_back = tag == "a" and "#" in element.get("href") and is_back_link(self._text(element))
        if "backlink" in types or leads_back:
            return ""
        if any(map(_PAGE_CLASSES.fullmatch, element.classes)) and self._is_page(element):
            return ""
        if tag in ("a", "span") and self._is_page_of_id(element):
            return ""
        if "pg-boilerplate" in element.classes or element.get("id") in ("pg-header", "pg-footer"):
            return "text of Project Gutenberg's own"
        return self._hidden(element)

    def _kind_by_tag(self, element: Element) -> str | None:
        if element.tag == "svg":
            cap = letter_of(element, self._text(element))
            if cap and self._begin_with(cap, element):
                return ""
        if element.tag == "table" and self._is_layout(element):
            return self._hidden(element)
        return _LEFT_OUT[element.tag]

    def _is_layout(self, table: Element) -> bool:
        """Tell whether a table is layout, as `is_layout`; False for tables nested deeply."""
        self._looked_at += table.end - table.begin
        if self._looked_at > _MOST_NESTED * len(self._events):
            return False
        return is_layout(table, self._chapter.markup)

    def _hidden(self, element: Element) -> str | None:
        """The kind of an element that is hidden, "" if it has no text; None if it is shown."""
        hides = self._chapter.styles.hides(element)
        if "hidden" in element.attributes or "inert" in element.attributes:
            hides = True
        if element.get("aria-hidden").strip().lower() == "true":
            text = self._text(element).strip()
            after = self._chapter.markup.following(element.end)
            hides = not (len(text) == 1 and text.isalpha() and joins(text, after))
        if hides:
            return "hidden passage" if self._text(element).strip() else ""
        return None

    def _is_page_of_id(self, element: Element) -> bool:
        """Tell whether an anchor's text is the page number in its id or name."""
        match = _PAGE_ID.fullmatch(element.get("id") or element.get("name"))
        text = self._text(element).strip()
        return (
            match is not None
            and bool(_PAGE.fullmatch(text))
            and re.sub(r"[\W_]|(?i:page|pg|p)(?=\W|\d)", "", text).lower() == match[1].lower()
        )

    def _is_page(self, element: Element) -> bool:
        if element.end - element.begin > _MOST_OF_A_NUMBER:
            return False
        return bool(_PAGE.fullmatch(self._text(element).strip() or "1"))

    def _text(self, element: Element) -> str:
        return self._chapter.markup.words(element, 60)

    def _collect_titles(self, element: Element) -> None:
        """Collect the titles of the table of contents that lead to an element."""
        if not self._entries or not element.attributes:
            return
        for name in {element.get("id"), element.get("xml:id"), element.get("name")} - {""}:
            titles = self._entries.get(name, ())
            if titles and self._chapter.ids.get(name) is element:
                begins = element.tag in BLOCKS or element.tag in HEADINGS
                fresh = self._level or not (begins or self._has_text)
                (self._before if fresh else self._next).extend(titles)
                if begins:
                    self._boundary()

    def _void(self, element: Element) -> None:
        tag = element.tag
        if tag == "hr":
            self._flush()
            self._blocks.append(Block("break"))
        elif tag == "br":
            self._words.append("\n")
        elif tag == "img":
            cap = letter_of(element, "")
            if not (cap and self._begin_with(cap, element)):
                after = self._chapter.markup.following(element.begin)
                lost = not self._has_text and after[:1].islower()
                self.left_out["lost letter" if lost else "picture"] += 1

    def _begin_with(self, cap: str, element: Element) -> bool:
        """Put a letter that is shown as a picture before its word."""
        after = self._chapter.markup.following(max(element.end, element.begin))
        begins = not self._has_text
        if begins and not after.strip():
            self._cap = cap
        elif not repeats(cap, after):
            self._append_text(cap)
            if begins and after[:1].isspace() and joins(cap, after.lstrip()):
                # White space between the picture and the rest of the word is not shown.
                self._words.append("\u2060")
        return True

    def _cap_as_text(self, element: Element) -> int | None:
        """Read a drop cap whose white space is not shown; returns the next event's index."""
        cap = self._text(element).strip()
        after = self._chapter.markup.following(element.end)
        if not (after[:1].isspace() and is_cap(element, cap) and joins(cap, after.lstrip())):
            return None
        self._append_text(f"{cap}\u2060")
        return element.end + 1

    def _is_raised(self, element: Element) -> bool:
        if element.tag not in ("span", "small", "font", "i", "em"):
            return element.tag == "sup"
        classes = element.classes
        return any(map(_RAISED_CLASS.fullmatch, classes)) or self._chapter.styles.raises(element)

    def _raise(self, element: Element) -> int | None:
        text = self._chapter.markup.words(element, _LONGEST_RAISED + 1)
        inside = self._events[element.begin + 1 : element.end][:60]
        links = [each for each in inside if isinstance(each, Element) and each.tag == "a"]
        marks = [each for each in links if each.begin in self._chapter.left_out]
        if marks or (links and text.strip() and MARK.fullmatch(text.strip())):
            self._note(text)
            return element.end + 1
        inner = (each for each in inside if isinstance(each, Element) and each.tag == "sup")
        tower = next(inner, None)
        if tower is not None and not links:
            # A tower of powers: 10 to the 10 to the 2.
            top = self._chapter.markup.words(tower, _LONGEST_RAISED)
            self._append_text(f"^{text.removesuffix(top).strip()}^{top.strip()}")
            return element.end + 1
        if len(text) > _LONGEST_RAISED or element.end - element.begin > 60 or links:
            return None
        before = "".join(self._words[-12:])[-60:]
        after = self._chapter.markup.following(element.end)
        marked = self._raised.marks
        spoken = self._raised.spoken(text, before, after)
        self.left_out["mark"] += self._raised.marks - marked
        self._append_text(spoken)
        return element.end + 1

    def _note(self, text: str) -> None:
        self.left_out["mark"] += 1
        if (number := re.search(r"(\d{1,4})\D*$", text)) is not None:
            self._raised.note = int(number.group(1))

    def _end(self, tag: str) -> None:
        if tag in HEADINGS:
            self._flush()
        elif tag in BLOCKS:
            self._boundary()

    def _boundary(self) -> None:
        """End a paragraph; within a heading only the line ends."""
        if self._level:
            self._words.append("\n")
        else:
            self._flush()

    def _flush(self) -> None:
        text = re.sub(r"\u2060\s+", "", "".join(self._words)).strip()
        text = text.replace("\u2044", "/") if "\u2044" in text else text
        self._words.clear()
        self._has_text = False
        level, self._level = self._level, 0
        if self._cap and text:
            text, self._cap = self._with_cap(self._cap, text), ""
        if text:
            self._blocks += [Block("entry", title) for title in self._before]
            self._blocks.append(
                Block("heading", text, level) if level else Block("paragraph", text)
            )
            self._before = []
        self._before, self._next = self._before + self._next, []

    def _with_cap(self, cap: str, text: str) -> str:
        if repeats(cap, text):
            return text
        if joins(cap, text):
            return cap + text
        if text[0].islower():
            return f"{cap} {text}"
        self.left_out["picture"] += 1
        return text


def _is_beside(element: Element) -> bool:
    """Tell whether a heading belongs to a picture or a box, not to a chapter."""
    parent = element.parent
    while parent is not None:
        if parent.tag in ("figure", "figcaption", "aside"):
            return True
        parent = parent.parent
    return False


def is_layout(table: Element, markup: Markup) -> bool:
    """Tell whether a table is only layout.

    It is if it is marked so, or if no row has two cells with words and one cell is long.
    """
    if "presentation" in table.types or "none" in table.types:
        return True
    inside = markup.events[table.begin + 1 : table.end]
    cells: Counter[int] = Counter()
    words = ""
    for event in inside:
        if not isinstance(event, Element) or event.tag not in ("td", "th"):
            continue
        text = markup.words(event, 120).strip()
        if any(map(str.isalnum, text)):
            row = event.parent.begin if event.parent is not None else 0
            cells[row] += 1
            words = max(words, text, key=len)
    return bool(cells) and max(cells.values()) == 1 and len(words) > _SENTENCES
