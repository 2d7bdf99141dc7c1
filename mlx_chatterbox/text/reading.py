"""The tokens of a piece of text, and the parts of it that have none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..errors import TextError, warn_user
from ..models.config import ModelConfig
from .gpt2 import drop_unknown_tags
from .normalize import punc_norm
from .pauses import Segment
from .tags import find_tags, without, without_brackets
from .unread import UnreadWarning, quoted_list


@dataclass(frozen=True)
class Reading:
    """A piece of text in tokens.

    Attributes:
        ids: tokens; for the Llama models with start and stop.
        text: the text without the parts that are not read.
        unread: tags and letters that the model does not know, each once, in order.
    """

    ids: list[int]
    text: str
    unread: tuple[str, ...] = ()


def without_unknown_tags(text: str, tokenizer, kind: str) -> tuple[str, list[str]]:
    """Remove the tags that a model has no token for; return the text, and these tags.

    Args:
        kind: of tokenizer (`TextConfig.tokenizer`).
    """
    if kind == "gpt2":
        return drop_unknown_tags(text, tokenizer)
    tags = find_tags(text, tokenizer.has_token)
    return without(text, tags), tags


def without_mere_tags(
    spoken: Sequence[Segment], tokenizer, kind: str
) -> tuple[list[Segment], tuple[str, ...]]:
    """Leave out segments that consist only of tags that the model does not know.

    Args:
        kind: of tokenizer (`TextConfig.tokenizer`).

    Returns:
        The segments that stay, with the pauses of those left out, and the unknown tags of the
        latter. If no segment would stay, all do.
    """
    kept: list[Segment] = []
    lost: list[str] = []
    before = 0.0
    for segment in spoken:
        text, tags = without_unknown_tags(segment.text, tokenizer, kind)
        if not tags or any(map(str.isalnum, text)):
            kept.append(replace(segment, pause_before=segment.pause_before + before))
            before = 0.0
        else:
            lost += tags
            pause = segment.pause_before + segment.pause_after
            if kept:
                kept[-1] = replace(kept[-1], pause_after=kept[-1].pause_after + pause)
            else:
                before += pause
    return (kept, tuple(dict.fromkeys(lost))) if kept else (list(spoken), ())


def read_text(text: str, tokenizer, config: ModelConfig, language_id: str | None) -> Reading:
    """Encode a text, and warn about the parts of it that have no tokens.

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
    whole = text
    text, tags = without_unknown_tags(text, tokenizer, config.text.tokenizer)
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
    # Of the text as written: without the capital that `punc_norm` adds.
    letters = tokenizer.unread(
        punc_norm(text, config.text.punctuation, capitalize=False), *language
    )
    unread = tuple(sorted([*tags, *letters], key=whole.find))
    if unread:
        words = f"not read, because the model does not know it: {quoted_list(unread)}."
        warn_user(UnreadWarning(words))
    ids = [config.t3.start_text_token, *ids, config.t3.stop_text_token]
    for one in letters:
        text = text.replace(one, " ")
    return Reading(ids, text, unread)


def _read_with_tags(text: str, tokenizer, style: str, shown: str) -> Reading:
    """Encode a text for a model that has tags (Turbo, Nano)."""
    text, unknown = drop_unknown_tags(text, tokenizer)
    if unknown:
        known = ", ".join(sorted(tokenizer.tags))
        warn_user(f"unknown tag(s) left out: {', '.join(unknown)}; known are {known}.")
    if not any(character.isalnum() for character in text):
        raise TextError(f"there is nothing to speak in {shown} but unknown tags.")
    return Reading(tokenizer.encode(punc_norm(text, style)), text, tuple(unknown))
