"""Removal of printed page numbers from a plain text, where they would be read as chapters.

A number alone on a line is a page number if it is marked as one ("- 12 -", "Page 12"), stands at
the end of a page, cuts a sentence in two, or continues a sequence with such a number. Unmarked
numbers also count if chapters have headings of their own, or if the numbers do not start at 1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_ROMAN = r"(?=[ivxl]{2})(?:xl|l?x{0,3})(?:ix|iv|v?i{0,3})"
_LINE = re.compile(
    r"(?P<left>[-–—~|•·\[{]\s?)?(?P<word>(?:page|pg|p|seite|página|pagina|стр)\b\.?\s{0,3})?"
    rf"(?P<number>\d{{1,4}}|{_ROMAN})(?P<of>\s?(?:of|von|de|di|/)\s?\d{{1,4}})?"
    r"(?P<right>\s?[-–—~|•·\]}]|\s?\|\s?p\s?a\s?g\s?e)?",
    re.IGNORECASE,
)
_ENDS = (*'.!?:…"”’»)]}。！？」', "***")
_VALUES = {"i": 1, "v": 5, "x": 10, "l": 50}
# A line that the end of a page cuts has at least so many characters; most headings are shorter.
_LONG = 12
# Larger numbers are years rather than pages, unless they are marked.
_MOST = 999


@dataclass
class _Number:
    """A number alone on a line.

    Attributes:
        at: index of its line.
        before, after: indices of the nearest lines with text, -1 for none.
        sure: whether it is certainly a page number.
    """

    at: int
    value: int
    kind: str
    before: int
    after: int
    sure: bool


def without_pages(text: str, is_heading: Callable[[str], bool]) -> tuple[str, list[str]]:
    r"""Remove page numbers from a text; returns the text, and the numbers as they were printed.

    Args:
        text: its line ends are "\n", its page ends "\f" on a line of their own.
        is_heading: tells whether a line is a chapter's heading in words.
    """
    lines = text.split("\n")
    numbers = _numbers(lines)
    pages = [number for run in _runs(numbers) for number in _pages(run, lines, is_heading)]
    if not pages:
        return text, []
    gone: set[int] = set()
    for page in pages:
        first, last = page.at, page.at
        if _cuts(lines, page):
            # The sentence continues, so the empty lines around the number go too.
            first, last = page.before + 1, page.after - 1
        gone.update(range(first, last + 1))
    kept = [line for at, line in enumerate(lines) if at not in gone]
    return "\n".join(kept), [lines[page.at].strip() for page in pages]


def remark_of(pages: Sequence[str]) -> list[str]:
    """Report removed page numbers in one line; [] if there were none."""
    if not pages:
        return []
    shown = pages[0] if len(pages) == 1 else f"{pages[0]} to {pages[-1]}"
    return [f"left out: {len(pages)} page number{'s' * (len(pages) > 1)} ({shown})"]


def _numbers(lines: Sequence[str]) -> list[_Number]:
    filled = [at for at, line in enumerate(lines) if line.strip()]
    numbers: list[_Number] = []
    for place, at in enumerate(filled):
        match = _LINE.fullmatch(lines[at].strip())
        if match is None:
            continue
        one_side = bool(match["left"]) != bool(match["right"])
        if one_side and not (match["word"] or match["of"] or "|" in (match["right"] or "")):
            continue
        number = match["number"]
        before = filled[place - 1] if place else -1
        after = filled[place + 1] if place + 1 < len(filled) else -1
        sure = bool(match["left"] or match["right"] or match["word"] or match["of"])
        if before >= 0 and not sure:
            gap = "\n".join(lines[before : after + 1 if after >= 0 else len(lines)])
            sure = "\f" in gap or after < 0
        value = int(number) if number.isdecimal() else _roman_value(number.lower())
        kind = "decimal" if number.isdecimal() else "roman"
        if kind == "roman" and number != number.lower() and not sure:
            continue
        numbers.append(_Number(at, value, kind, before, after, sure))
    if len(numbers) == len(filled):
        # A text of numbers alone, such as a countdown.
        return []
    for one in numbers:
        one.sure = one.sure or _cuts(lines, one)
    return numbers


def _runs(numbers: Sequence[_Number]) -> list[list[_Number]]:
    """Group numbers of one kind into sequences that count up by one."""
    runs: list[list[_Number]] = []
    last: dict[str, list[_Number]] = {}
    for number in numbers:
        run = last.get(number.kind)
        if run is not None and number.value == run[-1].value + 1:
            run.append(number)
        else:
            last[number.kind] = run = [number]
            runs.append(run)
    return runs


def _pages(
    run: Sequence[_Number], lines: Sequence[str], is_heading: Callable[[str], bool]
) -> Sequence[_Number]:
    """Select the page numbers of a sequence."""
    if any(number.sure for number in run):
        return run
    first = run[0]
    if first.kind == "roman" or first.before < 0 or first.value > _MOST:
        return ()
    if is_heading(lines[first.before]):
        # "Part One", and chapters that are numbers.
        return ()
    if any(map(is_heading, lines)):
        return [number for number in run if _stands_alone(number)]
    if first.value == 1:
        return ()
    return [number for number in run if _stands_alone(number)]


def _stands_alone(number: _Number) -> bool:
    """Tell whether there is an empty line before or after a number."""
    return number.before < number.at - 1 or number.after > number.at + 1


def _cuts(lines: Sequence[str], number: _Number) -> bool:
    """Tell whether a sentence continues after a number."""
    if number.before < 0 or number.after < 0:
        return False
    before, after = lines[number.before].strip(), lines[number.after].strip()
    return after[:1].islower() and not before.endswith(_ENDS) and len(before) >= _LONG


def _roman_value(number: str) -> int:
    values = [_VALUES[letter] for letter in number]
    following = [*values[1:], 0]
    return sum(-v if v < f else v for v, f in zip(values, following, strict=True))
