"""The elements that a book's style sheets hide or raise, by a subset of CSS.

Supported are selectors of names, classes and ids with descendants and children, `!important`, and
the order of precedence. Rules for print, for other devices or for states are ignored.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from ...errors import TextError
from .markup import Element

# Limits against hostile books; others have a few rules.
_MOST_RULES, _MOST_IMPORTS, _MOST_ANCESTORS = 1000, 20, 60
# Comparisons of a file's elements with rules.
_MOST_COMPARISONS = 2_000_000
_COMPOUND = re.compile(r"(\*|[a-z][\w-]*)?((?:[.#][\w-]+)*)", re.IGNORECASE)
_PART = re.compile(r"[.#][\w-]+")
_IMPORT = re.compile(r"""@import\s{0,9}(?:url\(\s{0,9})?["']?([^"');\s]{1,300})""", re.IGNORECASE)
_MEDIA = re.compile(r"\s*(?:only\s+)?(?:all|screen)\s*", re.IGNORECASE)
_PROPERTIES = ("display", "visibility", "vertical-align")
# Properties that hide text in other ways: unpainted, outside the page, or without size.
_OTHERS = ("opacity", "position", "left", "top", "clip", "clip-path", "font-size")
_NOTHING = re.compile(r"0*\.?0+(?:px|em|rem|pt|%)?")
_OUTSIDE = re.compile(r"-\d{3,}(?:\.\d+)?(?:px|em|rem|pt|%|vw|ex|ch)")
_CLIPPED = re.compile(r"rect\((?:\s*,?\s*[01](?:px)?){4}\s*\)|inset\((?:50|100)%\)")
_SEEN = {"hidden": True, "collapse": True, "visible": False}


@dataclass(frozen=True)
class _Compound:
    """A compound selector such as `p.note#n1`.

    Attributes:
        child: whether it must be directly inside the one before it (`>`).
    """

    tag: str
    ids: tuple[str, ...]
    classes: tuple[str, ...]
    child: bool

    def fits(self, element: Element) -> bool:
        if self.tag not in ("", "*", element.tag):
            return False
        if any(element.get("id") != name for name in self.ids):
            return False
        return not self.classes or set(self.classes) <= set(element.classes)


@dataclass(frozen=True)
class _Rule:
    compounds: tuple[_Compound, ...]
    name: str
    value: str
    weight: tuple[bool, int, int, int, int]

    def fits(self, element: Element) -> bool:
        *above, own = self.compounds
        if not own.fits(element):
            return False
        directly, left = own.child, _MOST_ANCESTORS
        place = element.parent
        while above:
            if place is None or not left:
                return False
            if above[-1].fits(place):
                directly = above.pop().child
            elif directly:
                return False
            place, left = place.parent, left - 1
        return True


class Styles:
    """The rules of a file's style sheets that hide or raise elements."""

    def __init__(self, sheets: Iterable[str] = ()):
        self._rules: dict[str, list[_Rule]] = defaultdict(list)
        self._count = 0
        self._left = _MOST_COMPARISONS
        # Siblings with equal names, classes and ids have equal properties.
        self._known: dict[tuple, dict[str, str]] = {}
        for sheet in sheets:
            self._read(sheet)

    def for_another_file(self) -> Styles:
        """Copy the rules for another file that has the same sheets."""
        same = Styles()
        same._rules, same._count = self._rules, self._count
        return same

    def hides(self, element: Element) -> bool | None:
        """Tell whether an element itself, not one around it, is hidden.

        Returns:
            True if it is not displayed or cannot be seen; False if it is declared visible; None if
            nothing is declared.
        """
        values = self._values(element)
        if values.get("display") == "none":
            return True
        if _is_unseen(values):
            return True
        if _NOTHING.fullmatch(values.get("font-size", "-")) and element.end - element.begin <= 2:
            # An element inside may have a size of its own.
            return True
        return _SEEN.get(values.get("visibility", ""))

    def raises(self, element: Element) -> bool:
        """Tell whether an element is raised as `<sup>` is."""
        return self._values(element).get("vertical-align") == "super"

    def _values(self, element: Element) -> dict[str, str]:
        if not self._count and not element.get("style"):
            return {}
        attributes = (element.get("class"), element.get("id"), element.get("style"))
        key = (id(element.parent), element.tag, *attributes)
        if key not in self._known:
            self._known[key] = self._computed(element)
        return self._known[key]

    def _computed(self, element: Element) -> dict[str, str]:
        own = dict(_declarations(element.get("style")))
        best = {name: (value, (important, 9, 0, 0, 0)) for name, (value, important) in own.items()}
        for rule in self._candidates(element):
            if rule.name in best and best[rule.name][1] > rule.weight:
                continue
            self._left -= 1
            if self._left < 0:
                raise TextError("its style sheets have too many rules for a book.")
            if rule.fits(element):
                best[rule.name] = (rule.value, rule.weight)
        return {name: value for name, (value, _) in best.items()}

    def _candidates(self, element: Element) -> Iterable[_Rule]:
        if not self._count:
            return
        for key in (element.tag, *(f".{name}" for name in element.classes), "*"):
            yield from self._rules.get(key, ())
        if element.get("id"):
            yield from self._rules.get(f"#{element.get('id')}", ())

    def _read(self, sheet: str) -> None:
        sheet = without_comments(sheet)
        around: list[str] = []
        last = 0
        for match in re.finditer("[{};]", sheet):
            text = sheet[last : match.start()]
            mark, last = match.group(), match.end()
            if mark == "{":
                around.append(text.strip())
                body: list[str] = []
            elif around and mark == ";":
                body.append(text)
            elif around:
                selector = around.pop()
                body.append(text)
                if not selector.startswith("@") and all(map(_applies, around)):
                    self._add(selector, ";".join(body))
                body = []

    def _add(self, selectors: str, body: str) -> None:
        declarations = _declarations(body)
        for selector in selectors.split(",") if declarations else ():
            compounds = _compounds(selector)
            for name, (value, important) in declarations if compounds else ():
                if self._count >= _MOST_RULES:
                    return
                self._count += 1
                ids = sum(len(each.ids) for each in compounds)
                classes = sum(len(each.classes) for each in compounds)
                tags = sum(each.tag not in ("", "*") for each in compounds)
                rule = _Rule(
                    compounds, name, value, (important, 0, ids, classes, tags * 10000 + self._count)
                )
                own = compounds[-1]
                key = f"#{own.ids[0]}" if own.ids else f".{own.classes[0]}" if own.classes else ""
                self._rules[key or own.tag or "*"].append(rule)


def sheets_of(
    texts: Iterable[tuple[str, str]], load: Callable[[str, str], tuple[str, str] | None]
) -> list[str]:
    """List style sheets, each after those that it imports.

    Args:
        texts: name and content of each.
        load: from the name of a sheet and an address in it to the name and content of another, or
            None if the book has none there.
    """
    sheets: list[str] = []
    seen: set[str] = set()
    # Sheets still to be read, the next one last; True: its imports were read already.
    waiting = [(name, text, False) for name, text in reversed(list(texts))]
    while waiting:
        name, text, ready = waiting.pop()
        if ready:
            sheets.append(text)
            continue
        waiting.append((name, text, True))
        for address in reversed(_IMPORT.findall(without_comments(text))):
            if len(seen) < _MOST_IMPORTS and (other := load(name, address)) is not None:
                if other[0] not in seen:
                    waiting.append((*other, False))
                seen.add(other[0])
    return sheets


def _applies(at_rule: str) -> bool:
    """Tell whether the content of an at-rule applies on every device."""
    name, _, condition = at_rule.partition(" ")
    if name.lower() == "@layer":
        return True
    return name.lower() == "@media" and any(map(_MEDIA.fullmatch, condition.split(",")))


def applies_to(media: str) -> bool:
    """Tell whether a sheet with this `media` attribute applies."""
    return not media.strip() or any(map(_MEDIA.fullmatch, media.split(",")))


def without_comments(sheet: str) -> str:
    parts = sheet.split("/*")
    return parts[0] + " ".join(part.partition("*/")[2] for part in parts[1:])


def _is_unseen(values: Mapping[str, str]) -> bool:
    """Tell whether properties make a displayed element invisible."""
    if _NOTHING.fullmatch(values.get("opacity", "-")):
        return True
    if values.get("position") not in ("absolute", "fixed"):
        return False
    places = (values.get("left", ""), values.get("top", ""))
    clips = (values.get("clip", ""), values.get("clip-path", ""))
    return any(map(_OUTSIDE.fullmatch, places)) or any(map(_CLIPPED.fullmatch, clips))


def _declarations(body: str) -> list[tuple[str, tuple[str, bool]]]:
    """Parse the declarations that hide or raise: value and `!important`, the last of each name."""
    declarations = {}
    for part in body.split(";") if ":" in body else ():
        name, _, value = part.partition(":")
        kept = name.strip().lower() in _PROPERTIES
        if name.strip().lower() in _OTHERS:
            # Nearly every rule has a size; only 0 matters.
            kept = "size" not in name.lower() or bool(_NOTHING.fullmatch(value.strip()))
        if kept:
            value, mark, _ = value.lower().partition("!")
            declarations[name.strip().lower()] = (value.strip(), bool(mark))
    return list(declarations.items())


def _compounds(selector: str) -> tuple[_Compound, ...]:
    """Parse a selector; () if it has more than names, classes, ids, descendants and children."""
    compounds, child = [], False
    for word in selector.replace(">", " > ").split()[:20]:
        if word == ">":
            child = True
            continue
        match = _COMPOUND.fullmatch(word)
        if match is None:
            return ()
        parts = _PART.findall(match.group(2))
        compounds.append(
            _Compound(
                (match.group(1) or "").lower(),
                tuple(part[1:] for part in parts if part[0] == "#"),
                tuple(part[1:] for part in parts if part[0] == "."),
                child,
            )
        )
        child = False
    return tuple(compounds)
