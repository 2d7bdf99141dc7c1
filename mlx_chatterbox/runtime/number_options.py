"""Types of numeric options: integers or finite numbers within limits, parsed in linear time.

Every numeric option has one of these types, so that any other text is wrong use (one line, exit
code 2), and the code after it never gets NaN, a thousand digits or 2^63.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable

from ..checks.plain import MAX_INTEGER, shown

# More digits are of no use, and Python's time to parse them is quadratic.
_MOST_CHARACTERS = 100
MAX_SEED = 2**64 - 1


def whole(least: int = 0, most: int = MAX_INTEGER) -> Callable[[str], int]:
    """Make the type of an option that is an integer from `least` to `most`."""

    def whole_number(text: str) -> int:
        value = _read(int, text, "a whole number")
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(_outside(text, least, most))
        return value

    return whole_number


def real(least: float = 0.0, most: float = 1e9, above: bool = False) -> Callable[[str], float]:
    """Make the type of an option that is a number from `least` (excluded if `above`) to `most`."""

    def number(text: str) -> float:
        value = _read(float, text, "a number")
        if not math.isfinite(value):
            raise argparse.ArgumentTypeError(f"{shown(text)} is not finite")
        if not least <= value <= most or (above and value == least):
            raise argparse.ArgumentTypeError(_outside(text, least, most, above))
        return value

    return number


# Seeds of everything random.
seed = whole(0, MAX_SEED)
# Integers whose limits are checked elsewhere, with another error.
any_whole = whole(-(2**127), 2**127)


def any_real(text: str) -> float:
    """Parse an option that is any number, also NaN; see `any_whole`."""
    return _read(float, text, "a number")


def _read(kind: Callable, text: str, what: str):
    try:
        if len(text) > _MOST_CHARACTERS:
            raise ValueError
        return kind(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{shown(text)} is not {what}") from None


def _outside(text: str, least: float, most: float, above: bool = False) -> str:
    """Compose the message about a number outside its limits."""
    first = f"more than {least:g}" if above else f"at least {_plain(least)}"
    return f"{shown(text)}: it must be {first} and at most {_plain(most)}"


def _plain(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"
