"""What a model will not read of a text that is not written out in words."""

from __future__ import annotations

from collections.abc import Iterable
from unicodedata import category, normalize

from .gpt2 import GPT2Tokenizer
from .lexicon import LexiconTokenizer
from .multilingual import MultilingualTokenizer
from .scripts import is_unspaced

MOST_NAMED = 12


def unread(texts: Iterable[str], tokenizer, language: str | None = None) -> str:
    """One line about what will be read as the model learnt to, or not at all; "" for nothing.

    Args:
        tokenizer: the model's, or None if it is not known.
    """
    characters = dict.fromkeys("".join(texts))
    found = []
    has_digits = any(category(character) in ("Nd", "No") for character in characters)
    if has_digits and not isinstance(tokenizer, LexiconTokenizer):
        found.append("digits are read as the model learnt to")
    unknown = _unknown(characters, tokenizer, language)
    if unknown:
        named = " ".join(unknown[:MOST_NAMED]) + (" ..." if len(unknown) > MOST_NAMED else "")
        found.append(f"the model does not know {named}")
    return "; ".join(found)


def _unknown(characters: Iterable[str], tokenizer, language: str | None) -> list[str]:
    if tokenizer is None or isinstance(tokenizer, GPT2Tokenizer):
        return []  # the latter spells whatever it does not know by its bytes
    candidates = [one for one in characters if _is_seen(one)]
    if isinstance(tokenizer, LexiconTokenizer):
        return [one for one in candidates if not tokenizer.knows_character(one)]
    prepared = normalize
    if isinstance(tokenizer, MultilingualTokenizer):
        # Their front ends turn characters into others that are known.
        if (language or "").lower() in ("zh", "ja"):
            candidates = [one for one in candidates if not is_unspaced(one)]
        return [one for one in candidates if tokenizer.is_unknown(prepared("NFKD", one))]
    return [one for one in candidates if tokenizer.is_unknown(one)]


def _is_seen(character: str) -> bool:
    """Whether a character stands for something: no white space, no invisible mark, and none that
    `punc_norm` replaces."""
    return not (
        character.isspace() or category(character) in ("Cc", "Cf", "Mn") or character in "…—–“”‘’;:"
    )
