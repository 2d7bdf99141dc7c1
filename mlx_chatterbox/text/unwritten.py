"""What a model makes of a text that is not written out in words, in one line."""

from __future__ import annotations

from collections.abc import Iterable
from unicodedata import category

from .lexicon import LexiconTokenizer
from .multilingual import MultilingualTokenizer
from .unread import shortened


def unwritten(texts: Iterable[str], tokenizer) -> str:
    """That digits are read as the model learnt to; "" where there are none.

    Args:
        tokenizer: the model's, or None if it is not known. Pocket's dictionary writes out what
            reaches it.
    """
    has_digits = any(category(one) in ("Nd", "No") for one in set("".join(texts)))
    if not has_digits or isinstance(tokenizer, LexiconTokenizer):
        return ""
    return "digits are read as the model learnt to"


def unknown(texts: Iterable[str], tokenizer, language: str | None = None) -> str:
    """What the model does not know, in a line; "" for nothing.

    Args:
        tokenizer: one that spells what it does not know by its bytes knows everything.
    """
    if not hasattr(tokenizer, "unread"):
        return ""
    more = (language,) if isinstance(tokenizer, MultilingualTokenizer) else ()
    found = tokenizer.unread("\n".join(texts), *more)
    return f"the model does not know {shortened(found)}" if found else ""
