"""The markup of a chapter as a flat list of events, in which elements know where they end.

There is no tree of children, so that deep nesting needs no recursion, and an element can be skipped
in one step.
"""

from __future__ import annotations

import re
from collections import Counter
from html.parser import HTMLParser

from ...errors import TextError

# Limit of one file; a novel in a single file has some 50,000.
MOST_ELEMENTS = 1_000_000
HEADINGS = {f"h{level}": level for level in range(1, 7)}
# Elements whose text is a paragraph of its own.
BLOCKS = frozenset(
    "p div section article header footer main blockquote li ul ol dl dt dd address center "
    "body figure figcaption hgroup details summary aside table tr td th caption pre nav".split()
)
# Elements that have no end.
VOID = frozenset("area base br col embed hr img input link meta param source track wbr".split())
# Elements that HTML does not close, and the elements whose beginning ends them.
_ENDS_ANOTHER = {
    "p": BLOCKS | set(HEADINGS),
    "li": {"li"},
    "dt": {"dt", "dd"},
    "dd": {"dt", "dd"},
    "a": {"a"},
    "tr": {"tr"},
    "td": {"td", "th", "tr"},
    "th": {"td", "th", "tr"},
}

# Texts that are no tags; the standard library's parser needs quadratic time for them.
_SUBSET = re.compile(r"^[^[]{0,400}<!DOCTYPE[^<>[]{0,400}\[.*?\]\s*>", re.DOTALL | re.IGNORECASE)
# `<![if !mso]>`, written by Word: a comment to other programs, and an error to that parser.
_REMARK = re.compile(r"<!\[[^<>]*>")
_LOOSE = re.compile(r"<(?![^<>]*>)")


class Element:
    """An element: `events[begin]` is itself, `events[end]` its `End`, or the end of the list."""

    __slots__ = ("attributes", "begin", "end", "parent", "tag")

    def __init__(self, tag: str, attributes: dict[str, str], parent: Element | None, begin: int):
        self.tag, self.attributes = tag, attributes
        self.parent, self.begin, self.end = parent, begin, begin

    def get(self, name: str) -> str:
        """The value of an attribute, "" if it is missing."""
        return self.attributes.get(name, "")

    @property
    def types(self) -> set[str]:
        """The words of `epub:type` and `role`, in lower case and without `doc-`."""
        if not self.attributes:
            return set()
        words = f"{self.get('epub:type')} {self.get('role')}".lower().split()
        return {word.removeprefix("doc-") for word in words}

    @property
    def classes(self) -> list[str]:
        return self.get("class").split()


class End:
    """The end of an element."""

    __slots__ = ("element",)

    def __init__(self, element: Element):
        self.element = element


Event = Element | End | str


class Markup:
    """A file's events, and the style sheets inside it.

    Attributes:
        events: elements where they begin, ends, texts.
        sheets: contents of its `<style>` elements.
    """

    def __init__(self, text: str):
        """Raises TextError if the file has more than `MOST_ELEMENTS` elements."""
        tidy, self.sheets = _tidied(text)
        parser = _Parser()
        parser.feed(tidy)
        parser.close()
        self.events: list[Event] = parser.finished()

    def words(self, element: Element, most: int = 200) -> str:
        """The text of an element, from at most `most` events and until it has `most` characters."""
        texts, length = [], 0
        for event in self.events[element.begin + 1 : min(element.end, element.begin + 1 + most)]:
            if isinstance(event, str):
                texts.append(event)
                length += len(event)
                if length > most:
                    break
        return "".join(texts)

    def following(self, at: int, most: int = 24) -> str:
        """The text right after an event, up to the end of the paragraph."""
        text = ""
        for event in self.events[at + 1 : at + 1 + most]:
            if isinstance(event, str):
                text += event
                if len(text) >= most:
                    break
            else:
                tag = event.tag if isinstance(event, Element) else event.element.tag
                if tag in BLOCKS or tag in HEADINGS or tag in ("br", "hr"):
                    break
        return text[:most]


class _Parser(HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self._events: list[Event] = []
        self._open: list[Element] = []
        self._names: Counter[str] = Counter()
        self._count = 0

    def handle_starttag(self, tag, attributes):
        tag = local(tag)
        while self._open and tag in _ENDS_ANOTHER.get(self._open[-1].tag, ()):
            self._close()
        element = self._add(tag, attributes)
        if tag not in VOID:
            self._open.append(element)
            self._names[tag] += 1

    def handle_startendtag(self, tag, attributes):
        element = self._add(local(tag), attributes)
        if element.tag not in VOID:
            element.end = len(self._events)
            self._events.append(End(element))

    def handle_endtag(self, tag):
        tag = local(tag)
        if not self._names[tag]:
            return
        while self._open[-1].tag != tag:
            self._close()
        self._close()

    def handle_data(self, data):
        self._events.append(data)

    def _add(self, tag, attributes) -> Element:
        self._count += 1
        if self._count > MOST_ELEMENTS:
            raise TextError(f"it has more than {MOST_ELEMENTS} elements: too many for a chapter.")
        values = {name: value or "" for name, value in attributes}
        parent = self._open[-1] if self._open else None
        element = Element(tag, values, parent, len(self._events))
        self._events.append(element)
        return element

    def _close(self) -> None:
        element = self._open.pop()
        self._names[element.tag] -= 1
        element.end = len(self._events)
        self._events.append(End(element))

    def finished(self) -> list[Event]:
        while self._open:
            self._close()
        return self._events


def local(tag: str) -> str:
    """A name without its namespace."""
    return tag.rsplit(":", 1)[-1]


def _tidied(text: str) -> tuple[str, list[str]]:
    """Remove comments, scripts and styles from HTML, and escape each `<` that begins no tag.

    Returns:
        The HTML, and the contents of its `<style>` elements.
    """
    text, _ = _without(text, "<!--", "-->")
    text, _ = _without(text, "<script", "</script>")
    text, styles = _without(text, "<style", "</style>")
    text = _SUBSET.sub("", text, count=1)
    text = _REMARK.sub("", text.replace("<![CDATA[", "").replace("]]>", ""))
    return _LOOSE.sub("&lt;", text), [style.partition(">")[2] for style in styles]


def _without(text: str, begin: str, end: str) -> tuple[str, list[str]]:
    """Remove everything between two marks from a text; returns the text, and what was removed."""
    kept, cut, at = [], [], 0
    while (start := text.find(begin, at)) >= 0:
        closing = text.find(">", start)
        if begin != "<!--" and text[closing - 1] == "/":
            # `<script/>` has no separate end.
            stop = closing + 1
        else:
            stop = text.find(end, start) + len(end)
            if stop < len(end):
                break
            cut.append(text[start : stop - len(end)])
        kept.append(text[at:start])
        at = stop
    kept.append(text[at:])
    return "".join(kept), cut
