"""A piece of text as a model reads it: its tokens, and what it has none for."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import TextError
from .gpt2 import drop_unknown_tags
from .normalize import punc_norm
from .tags import find_tags, without, without_brackets
from .unread import UnreadWarning, shortened

if TYPE_CHECKING:
    from ..config import ModelConfig


@dataclass(frozen=True)
class Reading:
    """What becomes of a piece of text.

    Attributes:
        ids: tokens; for the Llama models with start and stop.
        text: without what is not read.
        unread: tags and letters that the model does not know, each once, in order.
    """

    ids: list[int]
    text: str
    unread: tuple[str, ...] = ()


def read_text(text: str, tokenizer, config: ModelConfig, language_id: str | None) -> Reading:
    """Find the tokens of a text, and warn of what has none.

    Raises:
        TextError: nothing to speak, or nothing that the model knows; an unknown language.
    """
    shown = repr(text.strip()[:40])
    if not text.strip():
        raise TextError("there is no text to speak.")
    if not any(character.isalnum() for character in text):
        raise TextError(f"there is nothing to speak in {shown}: no letter.")
    if config.text.tokenizer == "gpt2":
        return _read_with_tags(text, tokenizer, config.text.punctuation, shown)
    whole, tags = text, find_tags(text, tokenizer.has_token)
    text = without(text, tags)
    if not any(character.isalnum() for character in text):
        raise TextError(f"there is nothing to speak in {shown} but tags; the model knows none.")
    language = (language_id,) if config.text.tokenizer == "multilingual" else ()
    if not tokenizer.knows_any(text, *language):
        raise TextError(f"the model knows none of the letters in {shown}.")
    if tokenizer.unread("[]"):
        text = without_brackets(text, tokenizer.has_token)
    keeps_case = getattr(tokenizer, "keeps_case", False)
    normal = punc_norm(text, config.text.punctuation, capitalize=not keeps_case)
    ids = tokenizer.encode(normal, *language)
    # As it was written: without a capital of ours.
    letters = tokenizer.unread(
        punc_norm(text, config.text.punctuation, capitalize=False), *language
    )
    unread = tuple(sorted([*tags, *letters], key=whole.find))
    if unread:
        _warn(f"not read, because the model does not know it: {shortened(unread)}.", UnreadWarning)
    ids = [config.t3.start_text_token, *ids, config.t3.stop_text_token]
    for one in letters:
        text = text.replace(one, " ")
    return Reading(ids, text, unread)


def _read_with_tags(text: str, tokenizer, style: str, shown: str) -> Reading:
    """For the models that have tags."""
    text, unknown = drop_unknown_tags(text, tokenizer)
    if unknown:
        known = ", ".join(sorted(tokenizer.tags))
        _warn(f"unknown tag(s) left out: {', '.join(unknown)}; known are {known}.")
    if not any(character.isalnum() for character in text):
        raise TextError(f"there is nothing to speak in {shown} but unknown tags.")
    return Reading(tokenizer.encode(punc_norm(text, style)), text, tuple(unknown))


def _warn(message: str, kind: type[Warning] = UserWarning) -> None:
    # Of the line that called `generate`, as far as anybody can tell.
    warnings.warn(message, kind, stacklevel=6)
