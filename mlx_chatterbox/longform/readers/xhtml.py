"""The XHTML of a book's chapter as blocks; also HTML that is not well formed."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from ..blocks import Block

_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_PARAGRAPHS = frozenset(
    "p div section article header footer main blockquote li ul ol dl dt dd address center body "
    "figure figcaption hgroup details summary".split()
)
# Not spoken, with all that is in them. A reading beside a character (ruby) says it a second time.
_LEFT_OUT = frozenset(
    "head script style table pre svg math nav form audio video object iframe noscript template rt "
    "rp".split()
)
# Elements that have no end.
_VOID = frozenset("area base br col embed hr img input link meta param source track wbr".split())
_NOTES = re.compile(r"\b(?:noteref|footnotes?|endnotes?|rearnotes?|pagebreak|toc|index)\b")


# What never becomes a tag; the standard library's parser takes the square of their number in time.
_SUBSET = re.compile(r"^[^[]{0,400}<!DOCTYPE[^<>[]{0,400}\[.*?\]\s*>", re.DOTALL | re.IGNORECASE)
_LOOSE = re.compile(r"<(?![^<>]*>)")


def xhtml_blocks(text: str) -> list[Block]:
    """Headings, paragraphs and breaks in order.

    Tables, code, notes and their marks, pictures and scripts are left out.
    """
    reader = _Reader()
    reader.feed(_tidied(text))
    reader.close()
    reader.flush()
    return reader.blocks


def links(text: str) -> list[tuple[str, str]]:
    """Addresses and words of all links, for a table of contents."""
    reader = _Links()
    reader.feed(_tidied(text))
    reader.close()
    return reader.found


def _tidied(text: str) -> str:
    """HTML without comments and scripts, in which each `<` begins a tag that ends."""
    for begin, end in (("<!--", "-->"), ("<script", "</script>"), ("<style", "</style>")):
        text = _without(text, begin, end)
    text = _SUBSET.sub("", text, count=1)
    text = text.replace("<![CDATA[", "").replace("]]>", "")
    return _LOOSE.sub("&lt;", text)


def _without(text: str, begin: str, end: str) -> str:
    kept, at = [], 0
    while (start := text.find(begin, at)) >= 0:
        closing = text.find(">", start)
        if begin != "<!--" and text[closing - 1] == "/":
            # `<script/>` has no end of its own.
            stop = closing + 1
        else:
            stop = text.find(end, start) + len(end)
            if stop < len(end):
                break
        kept.append(text[at:start])
        at = stop
    kept.append(text[at:])
    return "".join(kept)


def _local(tag: str) -> str:
    return tag.rsplit(":", 1)[-1]


class _Reader(HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.blocks: list[Block] = []
        self._words: list[str] = []
        self._level = 0
        # Where a raised text begins in the words: a note's number is not spoken, "1st" is.
        self._raised: int | None = None
        # The element that is left out, and how many of its name are open.
        self._skipped, self._depth = "", 0

    def handle_starttag(self, tag, attributes):
        tag = _local(tag)
        if self._skipped:
            self._depth += tag == self._skipped
            return
        kind = " ".join(value or "" for name, value in attributes if name in ("epub:type", "role"))
        if tag in _VOID:
            if tag == "hr":
                self.flush()
                self.blocks.append(Block("break"))
            elif tag == "br":
                self._words.append("\n")
        elif tag in _LEFT_OUT or _NOTES.search(kind.replace("doc-", "")):
            self._skipped, self._depth = tag, 1
        elif tag == "sup":
            self._raised = len(self._words)
        elif tag in _HEADINGS:
            self.flush()
            self._level = _HEADINGS[tag]
        elif tag in _PARAGRAPHS:
            self._boundary()

    def handle_startendtag(self, tag, attributes):
        if _local(tag) in _VOID:
            self.handle_starttag(tag, attributes)
        elif not self._skipped and _local(tag) in _PARAGRAPHS:
            self._boundary()

    def handle_endtag(self, tag):
        tag = _local(tag)
        if self._skipped:
            self._depth -= tag == self._skipped
            if not self._depth:
                self._skipped = ""
        elif tag == "sup" and self._raised is not None:
            if not any(map(str.isalpha, "".join(self._words[self._raised :]))):
                del self._words[self._raised :]
            self._raised = None
        elif tag in _HEADINGS:
            self.flush()
        elif tag in _PARAGRAPHS:
            self._boundary()

    def handle_data(self, data):
        if not self._skipped:
            self._words.append(data)

    def _boundary(self) -> None:
        """A paragraph's; within a heading only the line ends."""
        if self._level:
            self._words.append("\n")
        else:
            self.flush()

    def flush(self) -> None:
        text = "".join(self._words).strip()
        self._words.clear()
        level, self._level = self._level, 0
        if text:
            self.blocks.append(Block("heading", text, level) if level else Block("paragraph", text))


class _Links(HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[str, str]] = []
        self._address: str | None = None
        self._words: list[str] = []

    def handle_starttag(self, tag, attributes):
        if _local(tag) == "a":
            self._address, self._words = dict(attributes).get("href"), []

    def handle_endtag(self, tag):
        if _local(tag) == "a" and self._address:
            self.found.append((self._address, " ".join("".join(self._words).split())))
            self._address = None

    def handle_data(self, data):
        if self._address:
            self._words.append(data)
