"""Rare Chinese characters by common ones that sound the same, by a table that the user supplies.

The model has hardly seen the rare ones. Upstream's own table is not part of this package: its
licence does not allow that.
"""

from __future__ import annotations

from pathlib import Path

from ...checks.json_file import read_json
from ...checks.plain import shown
from ...errors import TextError
from ..languages.notice import say_once
from .characters import CHINESE


class HomophoneTable:
    """A table of characters; calling it replaces those of a text."""

    def __init__(self, table: dict[str, str], name: str = "the table of homophones"):
        """Check the table.

        Raises:
            TextError: an entry is not one Chinese character to another.
        """
        for rare, common in table.items():
            for one in (rare, common):
                if not isinstance(one, str) or len(one) != 1 or not CHINESE.match(one):
                    raise TextError(
                        f"{name} maps {shown(rare)} to {shown(common)}; it must map one Chinese "
                        "character to another."
                    )
        self._table = str.maketrans(table)

    @classmethod
    def load(cls, path: str | Path) -> HomophoneTable:
        """Read a JSON object of characters to characters.

        Raises:
            TextError: it is missing, damaged, or something else.
        """
        return cls(read_json(path, dict, TextError), str(path))

    def __len__(self) -> int:
        return len(self._table)

    def __call__(self, text: str) -> str:
        return text.translate(self._table)


def warn_of_no_table(text: str) -> None:
    """Warn, once a process, that a Chinese text is read without a table."""
    if CHINESE.search(text):
        say_once(
            "zh",
            "homophones",
            "rare Chinese characters are read as they are, since there is no table of homophones: "
            "name one (JSON, one character to another), or turn their replacement off.",
        )
