"""Notes on texts that are not written out in words: digits, and characters without tokens."""

from __future__ import annotations

from collections.abc import Iterable
from unicodedata import category

from .lexicon import LexiconTokenizer
from .multilingual import MultilingualTokenizer
from .unread import quoted_list


def unwritten(texts: Iterable[str], tokenizer) -> str:
    """A note that digits are read as the model learnt to; "" where there are none.

    Args:
        tokenizer: the model's, or None if it is not known. Pocket's dictionary writes out what
            reaches it.
    """
    has_digits = any(category(one) in ("Nd", "No") for one in set("".join(texts)))
    if not has_digits or isinstance(tokenizer, LexiconTokenizer):
        return ""
    return "digits are read as the model learnt to"


def unknown(texts: Iterable[str], tokenizer, language: str | None = None) -> str:
    """A note on the parts of texts that the model does not know; "" for none.

    Args:
        tokenizer: a byte-level one knows everything.
    """
    if not hasattr(tokenizer, "unread"):
        return ""
    more = (language,) if isinstance(tokenizer, MultilingualTokenizer) else ()
    unread = tokenizer.unread("\n".join(texts), *more)
    return f"the model does not know {quoted_list(unread)}" if unread else ""
