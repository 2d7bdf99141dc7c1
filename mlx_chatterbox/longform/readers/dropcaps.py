"""Drop caps: letters that a book shows as pictures, and the words that they belong to."""

from __future__ import annotations

import re

from .markup import Element

_ALONE = re.compile(r"[\"'“‘«„\[(]?([^\W\d_])[\"'”’»\])]?\.?")
_NAMED = re.compile(
    r"(?:.{0,40}\b(?:drop[\s-]?cap(?:ital)?|initial|letter|capital|cap|majuscule|lettrine|initiale)s?"
    r"\b.{0,20}?)[\s:\"'“‘\[(-]+([A-ZÀ-Þ])\b.{0,3}",
    re.IGNORECASE | re.DOTALL,
)
_CLASS = re.compile(r"drop|initial|lettrine|illum|firstletter|first-letter", re.IGNORECASE)
_FILE = re.compile(r"(?:^|[-_/.])([a-z])\d{0,3}\.(?:png|jpe?g|gif|svg)$", re.IGNORECASE)
# Letters that are words, and texts after them that are the rest of one word: "A" and "fter".
_WORDS = frozenset("AIO")
_RESTS = frozenset(
    "n t s f nd ll fter gain bout bove mong lone way lthough lmost lready lways nyone nything "
    "nother pril ugust utumn round cross ccording dventure ges nce ne ver ur nly nside nstead "
    "ndeed".split()
)


def letter_of(element: Element, text: str) -> str:
    """The letter that a picture shows, with a quotation mark before it; "" if it shows none.

    Args:
        text: the text inside an SVG picture.
    """
    for words in (element.get("alt"), element.get("aria-label"), text, element.get("title")):
        words = " ".join(words.split())
        if match := _ALONE.fullmatch(words):
            opening = words[0] if words[0] in "\"'“‘«„" else ""
            return opening + match.group(1)
        if match := _NAMED.fullmatch(words):
            return match.group(1)
    parent = element.parent
    classes = [*element.classes, *(parent.classes if parent is not None else ())]
    if any(map(_CLASS.search, classes)) and (match := _FILE.search(element.get("src"))):
        return match.group(1).upper()
    return ""


def is_cap(element: Element, text: str) -> bool:
    """Tell whether an element is a drop cap by its class, and has a letter as text."""
    return any(map(_CLASS.search, element.classes)) and bool(_ALONE.fullmatch(text.strip()))


def joins(cap: str, after: str) -> bool:
    """Tell whether a letter and the text after it, without the space between, are one word."""
    if not after[:1].isalpha():
        return False
    if after[0].islower():
        # "A long time" is not "Along time".
        return cap[-1].upper() not in _WORDS or _first_word(after) in _RESTS
    # "T" and "HE NIGHT".
    return after[:2].isupper() or not after[1:2].isalpha()


def _first_word(text: str) -> str:
    match = re.match(r"[^\W\d_]*", text)
    return match.group() if match is not None else ""


def repeats(cap: str, after: str) -> bool:
    """Tell whether the text repeats the letter, for readers without pictures."""
    return after.lstrip("\"'“‘«„")[:1] == cap[-1].upper()
