"""Chinese: spaces between words, characters as Cangjie codes.

Source: upstream `ChineseCangjieConverter`.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from unicodedata import category

from ...checks.json_file import read_json
from ...errors import CheckpointError
from .notice import say_once

SEGMENTER_MODEL = "spacy_ontonotes"


class CangjieConverter:
    """Characters to `[cj_x]...[cj_.]`, by a checkpoint's table, which is read on first use."""

    def __init__(self, path: str | Path):
        """`path`: a JSON list of "character<TAB>code"; it may be missing."""
        self._path = Path(path)
        self._table: _CangjieTable | None = None

    def __call__(self, text: str) -> str:
        """Put a space between words, and write Chinese characters as codes.

        Without the table, or the segmenter, it leaves that step out as upstream does, and warns
        once.

        Raises:
            CheckpointError: the table is there but damaged.
        """
        cut = _segmenter()
        return self.codes(" ".join(cut(text)) if cut else text)

    def codes(self, text: str) -> str:
        """Write Chinese characters as codes, without looking for words."""
        if self._table is None:
            self._table = self._read()
        table = self._table
        return "".join(table.written(character) for character in text)

    def _read(self) -> _CangjieTable:
        if not self._path.is_file():
            say_once(
                "zh",
                "codes",
                f"{self._path} is missing: Chinese characters reach the model as they are, which "
                "it does not know. Copy that file from the ResembleAI/chatterbox repository.",
            )
            return _CangjieTable([])
        try:
            entries = read_json(self._path, list)
            return _CangjieTable([entry.split("\t")[:2] for entry in entries])
        except (ValueError, AttributeError, TypeError) as error:
            raise CheckpointError(f"{self._path} is not a Cangjie table: {error}.") from None


class _CangjieTable:
    """Codes of characters: the keys, then, unless 0, the place among those of the same keys."""

    def __init__(self, pairs: list[list[str]]):
        self._keys: dict[str, str] = {}
        self._characters: dict[str, list[str]] = {}
        for character, keys in pairs:
            self._keys[character] = keys
            self._characters.setdefault(keys, []).append(character)

    def written(self, character: str) -> str:
        """The tokens of a Chinese character's code; any other character as it is."""
        code = self.code(character) if category(character) == "Lo" else None
        if code is None:
            return character
        return "".join(f"[cj_{key}]" for key in code) + "[cj_.]"

    def code(self, character: str) -> str | None:
        keys = self._keys.get(character)
        if keys is None:
            return None
        place = self._characters[keys].index(character)
        return f"{keys}{place}" if place else keys


def _segmenter():
    """Return pkuseg's `cut`, or None, with one warning, where it cannot be had.

    Neither the package nor upstream's files contain its model. By name, pkuseg would download it;
    so it gets a folder, and reads nothing else.
    """
    folder = _model_folder()
    if not ((folder / "weights.npz").is_file() and any(folder.glob("features.*"))):
        say_once(
            "zh",
            "words",
            "Chinese is read without word boundaries: the segmenter's model is not in "
            f"{folder}. To get it (once, from the internet): pip install 'mlx-chatterbox[zh]' && "
            'python -c "import spacy_pkuseg; spacy_pkuseg.pkuseg()"',
        )
        return None
    try:
        return _load_segmenter(str(folder)).cut
    except ImportError:
        say_once(
            "zh",
            "words",
            "Chinese is read without word boundaries: spacy-pkuseg is not installed. "
            "pip install 'mlx-chatterbox[zh]'",
        )
        return None


def _model_folder() -> Path:
    """The folder in which pkuseg keeps the model that upstream uses."""
    return Path(os.environ.get("PKUSEG_HOME") or "~/.pkuseg").expanduser() / SEGMENTER_MODEL


@cache
def _load_segmenter(folder: str):
    from spacy_pkuseg import pkuseg

    return pkuseg(folder)
