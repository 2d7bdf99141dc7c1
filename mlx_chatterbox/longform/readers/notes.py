"""Recognition of a book's notes, and of the links and numbers that are their marks.

EPUB 3 marks them by `epub:type` and `role`. In older books, and at Project Gutenberg, a mark is a
link to a paragraph that begins with the same mark, often in a list of notes, under a heading, or in
a file of its own. Parts that are not certainly notes stay.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from urllib.parse import unquote

from .markup import BLOCKS, HEADINGS, Element, End, Event, Markup
from .raised import MARK
from .styles import Styles

# Values of `epub:type` and `role` (there with `doc-`).
TYPES_OF_NOTES = frozenset("footnote footnotes endnote endnotes rearnote rearnotes".split())
_TYPES_OF_MARKS = frozenset(["noteref", "footnoteref", "endnoteref", "rearnoteref"])
_CLASS_OF_NOTES = re.compile(
    r"(?:mso)?(?:foot|end|rear)[-_]?notes?(?:[-_]?(?:text|body|content|list|section|area|block|div"
    r"|item|para|entry|head|heading|title))?|fn[-_]?(?:text|body|list)|notes?[-_]?(?:list|section)",
    re.IGNORECASE,
)
_CLASS_OF_MARKS = re.compile(
    r"(?:mso)?(?:foot|end|rear)?[-_]?note[-_]?(?:ref(?:erence)?|anchor|call|link|mark|number|num)s?"
    r"|fn[-_]?(?:anchor|ref|link|mark|call)s?|(?:foot|end)note|noteref|super(?:script)?[-_]?note",
    re.IGNORECASE,
)
_NAME_OF_A_NOTE = re.compile(
    r"(?:^|[^a-z])(?:_?(?:foot|end|rear)[-_]?note|note|fn|ftn|_?edn|_?ftn|en)s?[-_.]?\d*(?:[^a-z]|$)",
    re.IGNORECASE,
)
# A heading, or a line, above notes.
TITLE = re.compile(
    r"[\W_]*(?:the\s+)?(?:(?:foot|end)[\s-]?notes?|(?:chapter\s+)?notes(?:\s+(?:to|on|for)\b.{0,60})?"
    r"|fu(?:ß|ss)noten?|endnoten?|anmerkungen|notas(?:\s+al?\s+pie.{0,20})?|notes?\s+de\s+bas.{0,20}"
    r"|note(?:\s+a\s+pi[eè].{0,20})?|voetnoten|noten|fodnoter|fotnoter|noter|przypisy|примечания"
    r"|сноски|註釋?|注释?|脚注|각주)[\W_]*",
    re.IGNORECASE,
)
_CERTAIN_TITLE = re.compile(r"[\W_]*(?:foot|end)[\s-]?notes?[\W_]*", re.IGNORECASE)
_BACK = re.compile(
    r"[\W_]*(?:[↩↑⤴⏎^«‹←][\ufe0e\ufe0f]?|back|return(?:\s+to\s+.{0,20})?|zurück|retour)[\W_]*",
    re.IGNORECASE,
)
_CONTAINERS = frozenset("p li dd dt aside blockquote td tr div section".split())
_NUMBERED = re.compile(r"[\[({]?(?:\d{1,4}|[*†‡§¶]{1,3})[\])}.:\s]|[\[({][a-z][\])}]")
_TO_A_NOTE = re.compile(r"\b(?:notes?|nn?\.|fn\.?)\s*$", re.IGNORECASE)
# A word, perhaps with the end of its sentence, to which a mark is glued.
_GLUED = re.compile(r"[^\W\d_]{2}[.,;:!?…\"'”’»)\]]*$")
# Most characters, and events, of a note.
_LONGEST = 20_000

# Resolves an address in a file, by the file's name and the address, to the name of another.
Resolve = Callable[[str, str], str]


@dataclass
class ChapterFile:
    """A file of the book.

    Attributes:
        name: its path in the archive.
        styles: its style sheets, which hide elements.
        ids: its elements by `id`, and anchors by `name`.
        left_out: kinds of elements that are notes or their marks, by the index where they begin.
        silent: indices of the events of lists of links to chapters (see `links`).
        contents: the number of such lists.
        with_headings: cache of whether an element, by the index where it begins, cannot be a note:
            it is long, or has a heading.
    """

    name: str
    markup: Markup
    styles: Styles = field(default_factory=Styles)
    ids: dict[str, Element] = field(default_factory=dict)
    left_out: dict[int, str] = field(default_factory=dict)
    silent: set[int] = field(default_factory=set)
    contents: int = 0
    with_headings: dict[int, bool] = field(default_factory=dict)

    def __post_init__(self):
        for event in self.markup.events:
            if isinstance(event, Element) and event.attributes:
                names = [event.get("id"), event.get("xml:id")]
                names += [event.get("name")] if event.tag == "a" else []
                for name in filter(None, names):
                    self.ids.setdefault(name, event)


@dataclass
class _Link:
    """A link that may be a note's mark.

    Attributes:
        number: of its file.
        certain: whether it is one regardless of its target.
    """

    number: int
    element: Element
    mark: str
    target: str
    fragment: str
    certain: bool


def find_notes(chapters: Sequence[ChapterFile], resolved: Resolve, aside: frozenset[str]) -> None:
    """Find the notes and marks of all chapters, and fill in their `left_out`.

    Args:
        resolved: from a file's name and an address in it to a file's name.
        aside: names of files that are outside the reading order.
    """
    numbers = {chapter.name: number for number, chapter in enumerate(chapters)}
    links: list[_Link] = []
    for number, chapter in enumerate(chapters):
        _leave_out_marked(chapter)
        links += _links(number, chapter, resolved)
    bodies: list[tuple[_Link, int, Element]] = []
    for link in links:
        at = numbers.get(link.target)
        if at is None:
            is_note = link.target in aside
        elif link.fragment:
            element = chapters[at].ids.get(link.fragment)
            body = None if element is None else _body(chapters, link, at, element)
            is_note = body is not None
            if body is not None:
                bodies.append((link, at, body))
        else:
            is_note = False
        if is_note or link.certain:
            chapters[link.number].left_out.setdefault(link.element.begin, "mark")
    for _, at, body in bodies:
        chapters[at].left_out.setdefault(body.begin, "note")
    _leave_out_continuations(chapters, bodies)
    for chapter in chapters:
        _leave_out_titled_lists(chapter, bool(links))


def is_back_link(text: str) -> bool:
    """Tell whether a link's words are only a way back from a note."""
    return bool(text.strip()) and bool(_BACK.fullmatch(text.strip()))


def _leave_out_marked(chapter: ChapterFile) -> None:
    for event in chapter.markup.events:
        if not isinstance(event, Element) or not event.attributes or event.tag in ("html", "body"):
            continue
        if event.types & TYPES_OF_NOTES:
            chapter.left_out.setdefault(event.begin, "note")
        elif event.types & _TYPES_OF_MARKS:
            chapter.left_out.setdefault(event.begin, "mark")
        elif event.tag != "a" and any(map(_CLASS_OF_NOTES.fullmatch, event.classes)):
            what = "mark" if event.tag in ("sup", "small") else "note"
            chapter.left_out.setdefault(event.begin, what)
        elif (
            event.tag in ("span", "sup")
            and any(map(_CLASS_OF_MARKS.fullmatch, event.classes))
            and MARK.fullmatch(chapter.markup.words(event, 40).strip())
        ):
            chapter.left_out.setdefault(event.begin, "mark")


def _links(number: int, chapter: ChapterFile, resolved: Resolve) -> list[_Link]:
    """List the links that look like marks of notes."""
    links = []
    events, tail, raised = chapter.markup.events, "", 0
    for event in events:
        if isinstance(event, str):
            tail = (tail + event)[-40:]
            continue
        tag = event.tag if isinstance(event, Element) else event.element.tag
        if tag in BLOCKS or tag in HEADINGS:
            tail = ""
        if tag == "sup":
            raised += 1 if isinstance(event, Element) else -1
        if isinstance(event, End) or tag != "a" or not event.get("href"):
            continue
        text = chapter.markup.words(event, 40).strip()
        if not text or not MARK.fullmatch(text):
            continue
        address = event.get("href")
        path, _, fragment = address.partition("#")
        if re.match(r"[a-z][a-z0-9+.-]*:", path, re.IGNORECASE):
            if fragment and text.isdigit() and _GLUED.search(tail):
                # To a note on the web page that the book was made from.
                chapter.left_out.setdefault(event.begin, "mark")
            continue
        target = resolved(chapter.name, path) if path else chapter.name
        is_certain = _is_certain(event, events, text, fragment, tail, raised > 0)
        if not tail.strip():
            # At the beginning of a paragraph it is the number of a note, which leads back.
            if is_certain:
                chapter.left_out.setdefault(event.begin, "")
        elif (fragment or path) and not _TO_A_NOTE.search(tail):
            links.append(_Link(number, event, _bare(text), target, unquote(fragment), is_certain))
    return links


def _is_certain(
    event: Element, events: Sequence[Event], text: str, fragment: str, tail: str, raised: bool
) -> bool:
    """Tell whether a link marks a note regardless of its target: it looks like a mark on a word."""
    if any(map(_CLASS_OF_MARKS.fullmatch, event.classes)):
        return True
    if not fragment:
        return text.strip("()[]").isdigit() and bool(_GLUED.search(tail))
    if not tail.strip():
        return False
    inside = events[event.begin + 1 : min(event.end, event.begin + 8)]
    if raised or any(isinstance(each, Element) and each.tag == "sup" for each in inside):
        return True
    if not any(map(str.isalnum, text)):
        return True
    glued = not tail[-1].isspace() and bool(re.search(r"[^\W\d][.,;:!?…\"'”’»)\]]*$", tail))
    if re.fullmatch(r"[\[{⟨].+[\]}⟩]", text):
        return glued or bool(_NAME_OF_A_NOTE.search(fragment))
    return glued and text.strip("()").isdigit()


def _bare(mark: str) -> str:
    return re.sub(r"[\s\[\](){}⟨⟩.,:^]", "", mark).lower()


def _body(
    chapters: Sequence[ChapterFile], link: _Link, at: int, element: Element
) -> Element | None:
    """The note that a link leads to; None if its target is not a note."""
    chapter = chapters[at]
    block: Element | None = element
    for _ in range(20):
        if block is None or block.tag in _CONTAINERS:
            break
        if block.tag in HEADINGS or block.tag == "body":
            return None
        block = block.parent
    if block is not None and block.tag not in _CONTAINERS:
        return None
    if block is None or (at, block.begin) < (link.number, link.element.begin):
        # A link backwards leads from a note to its mark.
        return None
    if _is_inside(block, link, at) or _has_heading(chapter, block):
        return None
    if _leads_back(chapters, link, chapter, block):
        return block
    if link.certain and block.tag == "dt" and block.parent is not None:
        # A definition list, with marks as terms and notes as definitions.
        is_mark = link.mark and _bare(chapter.markup.words(block, 60)) == link.mark
        return block.parent if is_mark and block.parent.tag == "dl" else None
    above = block.parent.classes if block.parent else ()
    named = bool(_NAME_OF_A_NOTE.search(link.fragment)) or any(
        map(_CLASS_OF_NOTES.fullmatch, above)
    )
    listed = block.tag == "li" and block.parent is not None and block.parent.tag == "ol"
    if (link.certain or named) and _begins_with(link.mark, chapter.markup.words(block, 60)):
        return block
    return block if link.certain and (named or listed) else None


def _begins_with(mark: str, text: str) -> bool:
    """Tell whether a paragraph begins with a mark, and has more text."""
    if not mark:
        return False
    begin = r"[\s\[\](){}⟨⟩^]*" + re.escape(mark) + (r"(?!\w)" if mark[-1].isalnum() else "")
    match = re.match(begin, text.lower())
    return match is not None and sum(map(str.isalpha, text[match.end() :])) > 1


def _is_inside(block: Element, link: _Link, at: int) -> bool:
    """Tell whether a link is inside its own target, and so not a mark of it."""
    return at == link.number and block.begin <= link.element.begin <= block.end


def _has_heading(chapter: ChapterFile, block: Element) -> bool:
    if block.begin not in chapter.with_headings:
        inside = chapter.markup.events[block.begin : min(block.end, block.begin + _LONGEST)]
        chapter.with_headings[block.begin] = (
            len(inside) == _LONGEST
            or any(isinstance(each, Element) and each.tag in HEADINGS for each in inside)
            or sum(len(each) for each in inside if isinstance(each, str)) > _LONGEST
        )
    return chapter.with_headings[block.begin]


def _leads_back(
    chapters: Sequence[ChapterFile], link: _Link, chapter: ChapterFile, block: Element
) -> bool:
    """Tell whether a block has a link back to the place of the mark."""
    inside = chapter.markup.events[block.begin : min(block.end, block.begin + 400)]
    for event in inside:
        if not isinstance(event, Element) or event.tag != "a" or "#" not in event.get("href"):
            continue
        words = chapter.markup.words(event, 40).strip()
        if not (MARK.fullmatch(words) or is_back_link(words)):
            continue
        path, _, fragment = event.get("href").partition("#")
        place = chapters[link.number].ids.get(unquote(fragment))
        own = chapters[link.number].name
        same = posixpath.basename(unquote(path)) == posixpath.basename(own)
        if place is None or not (same or (not path and chapter.name == own)):
            continue
        if abs(place.begin - link.element.begin) <= 6 or (
            place.begin <= link.element.begin <= place.end
        ):
            return True
    return False


def _leave_out_continuations(chapters, bodies: list[tuple[_Link, int, Element]]) -> None:
    """Leave out further paragraphs of notes: those between two notes of one list.

    It is a list if the mark of the second note stands before the first note.
    """
    ordered = sorted(bodies, key=lambda each: (each[1], each[2].begin))
    for (_, at, one), (link, place, other) in pairwise(ordered):
        if at != place or one.parent is not other.parent or one.end >= other.begin:
            continue
        if (link.number, link.element.begin) > (at, one.begin):
            continue
        between = chapters[at].markup.events[one.end + 1 : other.begin]
        elements = [each for each in between if isinstance(each, Element)]
        if any(each.tag in HEADINGS or each.tag == "hr" for each in elements):
            continue
        for each in elements:
            if each.parent is one.parent:
                chapters[at].left_out.setdefault(each.begin, "")


def _leave_out_titled_lists(chapter: ChapterFile, any_marks: bool) -> None:
    """Leave out a list after a heading such as "Footnotes", to which no link leads."""
    events = chapter.markup.events
    for event in events:
        if not isinstance(event, Element) or event.tag not in HEADINGS:
            continue
        title = chapter.markup.words(event, 100)
        if not TITLE.fullmatch(title.strip() or "-"):
            continue
        certain = bool(_CERTAIN_TITLE.fullmatch(title)) or any_marks
        level = HEADINGS[event.tag]
        for after in events[event.end + 1 : event.end + 4000]:
            if isinstance(after, End) and after.element is event.parent:
                break
            if not isinstance(after, Element) or after.parent is not event.parent:
                continue
            if after.tag in HEADINGS:
                if HEADINGS[after.tag] <= level:
                    break
            elif after.tag in ("ol", "dl") and certain:
                chapter.left_out.setdefault(after.begin, "note")
            elif after.tag in ("p", "ul", "div") and certain:
                text = chapter.markup.words(after, 30).strip()
                if _NUMBERED.match(text):
                    chapter.left_out.setdefault(after.begin, "note")
