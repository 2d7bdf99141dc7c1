"""Numbers on command lines: read in linear time, whole or finite, and within two ends.

Every option that is a number has one of these as its type, so that what is no such number is wrong
use (exit code 2, a line), and nothing that follows meets NaN, a thousand digits or 2^63.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable

from ..checks.plain import MAX_INTEGER, shown

# More say nothing; Python takes the square of their count in time.
_MOST_CHARACTERS = 100
MAX_SEED = 2**64 - 1


def whole(least: int = 0, most: int = MAX_INTEGER) -> Callable[[str], int]:
    """The type of an option that is a whole number from `least` to `most`."""

    def whole_number(text: str) -> int:
        value = _read(int, text, "a whole number")
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(_outside(text, least, most))
        return value

    return whole_number


def real(least: float = 0.0, most: float = 1e9, above: bool = False) -> Callable[[str], float]:
    """The type of an option that is a number from `least` to `most`; `above`: more than `least`."""

    def number(text: str) -> float:
        value = _read(float, text, "a number")
        if not math.isfinite(value):
            raise argparse.ArgumentTypeError(f"{shown(text)} is not finite")
        if not least <= value <= most or (above and value == least):
            raise argparse.ArgumentTypeError(_outside(text, least, most, above))
        return value

    return number


# Of everything random.
seed = whole(0, MAX_SEED)
# Whose ends somebody else looks at, with an error of its own.
any_whole = whole(-(2**127), 2**127)


def any_real(text: str) -> float:
    """The type of an option that is any number, also NaN; see `any_whole`."""
    return _read(float, text, "a number")


def _read(kind: Callable, text: str, what: str):
    try:
        if len(text) > _MOST_CHARACTERS:
            raise ValueError
        return kind(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{shown(text)} is not {what}") from None


def _outside(text: str, least: float, most: float, above: bool = False) -> str:
    """What is wrong with a number that is not between its ends."""
    first = f"more than {least:g}" if above else f"at least {_plain(least)}"
    return f"{shown(text)}: it must be {first} and at most {_plain(most)}"


def _plain(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"
