"""The rules of English, in the order in which they are tried."""

from __future__ import annotations

import re

from . import (
    acronyms,
    codes,
    dates,
    durations,
    headings,
    maths,
    money,
    names,
    roman,
    signs,
    telephone,
    times,
    units,
    web,
)
from .reader import LETTER, ReadingRule, RuleReader

# Longer than any word: matched at once and left as it is.
_ENDLESS = ReadingRule(LETTER, re.compile(r"[^\W_]{65,}"), lambda match: match.group())

RULES = (
    _ENDLESS,
    *signs.RULES,
    *web.RULES,
    *maths.RULES[:1],
    *names.RULES[:1],
    *headings.RULES,
    *dates.RULES[:6],
    *durations.RULES,
    *times.MILITARY,
    *telephone.RULES,
    *web.VERSIONS,
    *maths.RULES[1:],
    *times.RULES,
    *money.RULES,
    *dates.RULES[6:],
    *names.RULES[1:],
    *units.RULES,
    *dates.BARE_YEARS,
    *maths.NUMBERS,
    *roman.RULES,
    *codes.RULES,
    *acronyms.RULES,
    *signs.PER_WHAT,
    *names.SLASHES,
    *maths.LAST,
    *signs.LAST,
)
# A word in lower case with no sign next to it. Not those that Roman numerals could be.
_PLAIN = re.compile(r"(?![ivxlc]+\b)[a-z]+(?:['’][a-z]+)?(?=[\s,;!?)\]\"”…]|$)")
READER = RuleReader(
    RULES,
    _PLAIN,
    (
        "vs",
        "etc",
        "approx",
        "eg",
        "ie",
        "gov't",
        "int'l",
        "nat'l",
        "dep't",
        "ass'n",
        "sec'y",
        "cont'd",
        "rec'd",
        "kr",
    ),
)
