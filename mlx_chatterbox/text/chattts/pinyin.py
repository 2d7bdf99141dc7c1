"""A table of homophones made from pypinyin's dictionaries (extra "zh"), instead of upstream's.

Common characters are the 3755 of GB 2312's first level. Each other one becomes the common
character of its reading, tone included, that most of pypinyin's phrases contain, preferably one
that has no other reading.

Source: https://github.com/mozillazg/python-pinyin (MIT).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from functools import cache
from itertools import chain, islice

from ...errors import TextError
from .characters import CHINESE
from .homophones import HomophoneTable

# GB 2312, first level: rows of 94; the last has 89.
_ROWS, _COLUMNS = range(0xB0, 0xD8), range(0xA1, 0xFF)
_COUNT = 3755


@cache
def pinyin_homophones() -> HomophoneTable:
    """Make the table; it takes about half a second, once.

    Raises:
        TextError: pypinyin is not installed.
    """
    try:
        from pypinyin.phrases_dict import phrases_dict
        from pypinyin.pinyin_dict import pinyin_dict
    except ImportError:
        raise TextError(
            "a table of homophones is made with pypinyin: pip install 'mlx-chatterbox[zh]'"
        ) from None
    readings = {chr(code): listed.split(",") for code, listed in pinyin_dict.items()}
    uses = Counter(chain.from_iterable(phrases_dict))
    common = _common_characters()
    by_reading = defaultdict(list)
    for character in common:
        by_reading[readings[character][0]].append(character)
    best = {
        reading: max(those, key=lambda one: (len(readings[one]) == 1, uses[one]))
        for reading, those in by_reading.items()
    }
    known = frozenset(common)
    return HomophoneTable(
        {
            character: best[listed[0]]
            for character, listed in readings.items()
            if CHINESE.match(character) and character not in known and listed[0] in best
        }
    )


def _common_characters() -> list[str]:
    pairs = (bytes((row, column)) for row in _ROWS for column in _COLUMNS)
    return [pair.decode("gb2312") for pair in islice(pairs, _COUNT)]
