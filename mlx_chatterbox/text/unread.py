"""The parts of a text that a model does not know: named in warnings, so that none is lost."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence

_SHOWN, _LONGEST = 4, 24
# Invisible characters within a word or an emoji: the soft hyphen, and the joiner.
_JOINERS = "\u00ad\u200d"


class UnreadWarning(UserWarning):
    """Part of a text is not spoken, because the model does not know it."""


class CutOffWarning(UserWarning):
    """A text, or its speech, was not finished within the limit of its tokens."""


def unread_runs(text: str, is_known: Callable[[str], bool]) -> tuple[str, ...]:
    """Stretches of a text that are not known, each once, in order.

    Args:
        is_known: takes a character with its combining marks ("e" and an accent).
    """
    runs: dict[str, None] = {}
    run = ""
    for one in _characters(text):
        if not one.isspace() and not is_known(one):
            run += one
        elif run:
            runs[run], run = None, ""
    if run:
        runs[run] = None
    return tuple(runs)


def _characters(text: str) -> Iterator[str]:
    """Yield characters with their accents; invisible ones, as a byte-order mark, are left out."""
    one = ""
    for character in text:
        kind = unicodedata.category(character)
        if one and not one.isspace() and (kind[0] == "M" or character in _JOINERS):
            one += character
            continue
        if one:
            yield one
        one = "" if kind in ("Cf", "Cc") and not character.isspace() else character
    if one:
        yield one


def quoted_list(unread: Sequence[str]) -> str:
    """List some texts for a message: "'мир', '🙂' and 3 more"."""
    # Not `repr`, which writes the joiners within an emoji as numbers.
    shown = [
        f"'{one}'" if len(one) <= _LONGEST else f"'{one[: _LONGEST - 1]}\u2026'"
        for one in map(_visible, unread[:_SHOWN])
    ]
    more = len(unread) - _SHOWN
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def _visible(text: str) -> str:
    """Write characters that no font has, such as private-use ones, as their numbers."""
    if not any(unicodedata.category(one) in ("Co", "Cn") for one in text):
        return text
    return "".join(
        f"U+{ord(one):04X}" if unicodedata.category(one) in ("Co", "Cn") else one for one in text
    )


def not_read(where: str, unread: Sequence[str]) -> str:
    """A line for a warning: the unread parts of the text at `where`."""
    them = "it" if len(unread) == 1 else "them"
    return f"not read in {where}: {quoted_list(unread)} (the model does not know {them})"


def merged(unread: Iterable[Sequence[str]]) -> tuple[str, ...]:
    """The unread parts of several pieces, each once, in order."""
    return tuple(dict.fromkeys(one for of_piece in unread for one in of_piece))
