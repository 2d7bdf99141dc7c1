"""Adds tokens to T3's text vocabulary, for a language whose letters it lacks.

New tokens get the ids after the last one; the embedding and the head get a row for each, which
starts as the mean of all earlier rows. A token `[xx]` of a multilingual model is the tag of a
language, which then becomes one of the model's languages.
"""

from __future__ import annotations

import copy
import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn

from ..errors import CheckpointError, TextError
from ..text.files import ENGLISH_FILE, MULTILINGUAL_FILE
from ..text.load import load_tokenizer
from ..text.multilingual import MultilingualTokenizer
from ..text.tokenizer import EnglishTokenizer
from ..weights.checkpoint import Checkpoint
from ..weights.quantization import dequantize_layers

# Codes are written in lower case when a text is tagged.
_LANGUAGE_TAG = re.compile(r"\[([a-z]{2,8})\]")
_Growing = EnglishTokenizer | MultilingualTokenizer
TOKENIZER_FILES = {"english": ENGLISH_FILE, "multilingual": MULTILINGUAL_FILE}


def extend_vocabulary(checkpoint: Checkpoint, new_tokens: Sequence[str]) -> Checkpoint:
    """Add tokens to the vocabulary of a model.

    Args:
        checkpoint: left as it is, but for its networks, whose tables grow.
        new_tokens: letters or pieces of words, which the tokenizer looks for before any others; for
            a multilingual model tags of languages, too. A tag may be in the vocabulary already.

    Returns:
        The model with larger tables, configuration and tokenizer.

    Raises:
        TextError: a token that is empty, has a space, stands twice, is in the vocabulary already,
            or can match no text.
        CheckpointError: Turbo or Nano, whose vocabulary can spell everything already.
    """
    config = checkpoint.config
    original = checkpoint.tokenizer
    if not isinstance(original, EnglishTokenizer | MultilingualTokenizer):
        raise CheckpointError(
            "model.new_tokens: Turbo's and Nano's tokenizer spells any letter by its bytes; there "
            "is nothing to add."
        )
    languages = _new_languages(original, new_tokens)
    known = original._tokenizer.get_vocab()
    tags = {f"[{language}]" for language in languages}
    new_tokens = [token for token in new_tokens if token not in tags or token not in known]
    tokenizer = _grown_tokenizer(original, new_tokens)
    if isinstance(tokenizer, MultilingualTokenizer):
        tokenizer.languages = (*tokenizer.languages, *languages)
    vocabulary = tokenizer._tokenizer.get_vocab()
    size = max(config.t3.text_tokens_dict_size, 1 + max(vocabulary.values()))
    used = {i for token, i in vocabulary.items() if token not in set(new_tokens)}
    ids = [vocabulary[token] for token in new_tokens]
    if used & set(ids):
        raise CheckpointError("the tokenizer's file has gaps in its ids: it cannot grow.")
    t3 = checkpoint.networks.t3
    if ids:
        # Rows are added and trained, which quantised tables do not allow.
        dequantize_layers(t3, ("text_emb", "text_head"))
        for layer in (t3.text_emb, t3.text_head):
            _grow(layer, size, sorted(used), ids)
    t3_config = dataclasses.replace(config.t3, text_tokens_dict_size=size)
    t3.config = t3_config
    mx.eval(t3.text_emb.parameters(), t3.text_head.parameters())
    text = dataclasses.replace(config.text, languages=[*config.text.languages, *languages])
    config = dataclasses.replace(config, t3=t3_config, text=text)
    return dataclasses.replace(checkpoint, config=config, tokenizer=tokenizer)


def save_tokenizer(checkpoint: Checkpoint, folder: Path) -> None:
    """Write the tokenizer's vocabulary file into a folder, where it has grown."""
    name = TOKENIZER_FILES.get(checkpoint.config.text.tokenizer)
    tokenizer = checkpoint.tokenizer
    if name is None or not isinstance(tokenizer, EnglishTokenizer | MultilingualTokenizer):
        return
    stored = load_tokenizer(checkpoint.folder, checkpoint.config.text)._tokenizer
    if stored.get_vocab() != tokenizer._tokenizer.get_vocab():
        tokenizer._tokenizer.save(str(folder / name))


def _new_languages(tokenizer: _Growing, new_tokens: Sequence[str]) -> list[str]:
    """Codes of the languages whose tags are among the tokens, and which are not known yet."""
    if not isinstance(tokenizer, MultilingualTokenizer):
        return []
    codes = [match[1] for match in map(_LANGUAGE_TAG.fullmatch, new_tokens) if match]
    return [code for code in codes if code not in tokenizer.languages]


def _grown_tokenizer(original: _Growing, new_tokens: Sequence[str]) -> _Growing:
    """Copy a tokenizer and add tokens to the copy; see `extend_vocabulary` for what is refused."""
    from tokenizers import AddedToken

    tokenizer = copy.copy(original)
    tokenizer._tokenizer = copy.deepcopy(original._tokenizer)
    known = tokenizer._tokenizer.get_vocab()
    for number, token in enumerate(new_tokens):
        if not token or any(character.isspace() for character in token):
            raise TextError(f"model.new_tokens: {token!r} is empty or has a space in it.")
        if token in known or token in new_tokens[:number]:
            raise TextError(f"model.new_tokens: {token!r} is in the vocabulary already.")
    # Matched as they are written, before the text is split; kept when ids become text.
    added = [AddedToken(token, normalized=False, special=False) for token in new_tokens]
    tokenizer._tokenizer.add_tokens(added)
    for token in new_tokens:
        if tokenizer._tokenizer.token_to_id(token) not in tokenizer.encode(token):
            raise TextError(
                f"model.new_tokens: {token!r} can match no text, as the tokenizer first puts texts "
                "into lower case and splits accents off: write the token in that form."
            )
    return tokenizer


def _grow(layer: nn.Module, size: int, used: Sequence[int], new: Sequence[int]) -> None:
    """Add rows up to `size` to a layer's tables; rows `new` become the mean of rows `used`."""
    for name in ("weight", "bias"):
        if name not in layer:
            continue
        table = layer[name]
        mean = table[mx.array([i for i in used if i < len(table)])].astype(mx.float32).mean(axis=0)
        mean = mean.astype(table.dtype)
        missing = size - table.shape[0]
        if missing:
            rows = mx.broadcast_to(mean, (missing, *mean.shape))
            table = mx.concatenate([table, rows])
        table[mx.array(list(new))] = mean
        layer[name] = table
