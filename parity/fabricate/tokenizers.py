"""Made-up files of every kind of text tokenizer."""

from __future__ import annotations

from functools import cache

from . import gpt2, multilingual
from .english import tokenizer_json

_FILES = {
    "english": lambda: {"tokenizer.json": tokenizer_json()},
    "multilingual": multilingual.files,
    "gpt2": gpt2.files,
}


@cache
def tokenizer_files(kind: str) -> dict[str, str]:
    """File name and text of everything that a checkpoint's tokenizer is read from.

    Args:
        kind: "english", "multilingual" or "gpt2", as in `TextConfig.tokenizer`.

    Raises:
        ValueError: another kind.
    """
    if kind not in _FILES:
        raise ValueError(f"unknown tokenizer {kind!r}")
    return _FILES[kind]()
