"""The tokenizer of Turbo and Nano: GPT-2's byte pairs and tags such as `[laugh]`.

Source: upstream `tts_turbo.py`, which reads the folder by transformers' `AutoTokenizer`; here the
same files are read by the `tokenizers` library beneath it.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from ..checks.json_file import read_json
from ..checks.plain import named, shown
from ..checks.tokenizer_file import check_tokenizer_file, check_vocabulary_file, tokenizer_call
from ..errors import CheckpointError
from .files import ADDED, MERGES, SETTINGS, VOCABULARY, WHOLE
from .tags import find_tags, without

if TYPE_CHECKING:
    from tokenizers import AddedToken, Tokenizer

END_OF_TEXT = "<|endoftext|>"
# A tag, or an attempt at one: up to four words in square brackets, but not a link of Markdown.
_BRACKETED = re.compile(r"\[\s*[^\W\d_]+(?:[ _-][^\W\d_]+){0,3}\s*\](?!\()")


class GPT2Tokenizer:
    """Byte-level tokens of a folder's own files; `tags` are the added tokens in brackets.

    Any text has tokens: what is not a word of the vocabulary is spelt byte by byte.
    """

    def __init__(self, folder: str | Path):
        """Read `tokenizer.json` if there is one, else `vocab.json` and `merges.txt`; then the added
        tokens that `tokenizer_config.json` describes, or else `added_tokens.json`.

        Raises:
            CheckpointError: a file is missing or damaged, or ids do not fit together.
        """
        folder = Path(folder)
        settings = read_json(folder / SETTINGS) if (folder / SETTINGS).is_file() else {}
        self._tokenizer = _base_tokenizer(folder, bool(settings.get("add_prefix_space")))
        for index, token in _added_tokens(folder, settings):
            add = (
                self._tokenizer.add_special_tokens if token.special else self._tokenizer.add_tokens
            )
            add([token])
            if self._tokenizer.token_to_id(token.content) != index:
                raise CheckpointError(
                    f"{folder}: the token {named(token.content)} should be {index}."
                )
        if self._tokenizer.token_to_id(END_OF_TEXT) is not None:
            self._tokenizer.add_special_tokens([END_OF_TEXT])
        self.tags = frozenset(
            token.content
            for token in self._tokenizer.get_added_tokens_decoder().values()
            if token.content.startswith("[") and token.content.endswith("]")
        )
        self.max_length: int | None = settings.get("model_max_length")
        if self.max_length is not None and not (
            type(self.max_length) in (int, float) and self.max_length >= 1
        ):
            raise CheckpointError(
                f"{folder / SETTINGS}: model_max_length is {shown(self.max_length)}."
            )

    def __len__(self) -> int:
        return self._tokenizer.get_vocab_size()

    def encode(self, text: str) -> list[int]:
        """Token ids.

        A text of more tokens than the files' `model_max_length` is cut there, as upstream does,
        with a warning.
        """
        ids = tokenizer_call(
            lambda: self._tokenizer.encode(text).ids,
            lambda why: CheckpointError(f"the tokenizer fails, its files are damaged: {why}."),
        )
        if self.max_length is not None and len(ids) > self.max_length:
            warnings.warn(
                f"the text has {len(ids)} tokens; only the first {self.max_length} are spoken.",
                stacklevel=2,
            )
            ids = ids[: int(self.max_length)]
        return ids

    def decode(self, ids: list[int]) -> str:
        """The text of token ids."""
        return self._tokenizer.decode(ids, skip_special_tokens=False)

    def knows_any(self, text: str) -> bool:
        """Return True where a text has a letter or a digit to speak."""
        return any(map(str.isalnum, text))

    def unknown_tags(self, text: str) -> list[str]:
        """Bracketed words that look like tags but are not, each once, in order. Case matters."""
        other = frozenset(find_tags(text))
        places = {m.group(): m.start() for m in reversed([*_BRACKETED.finditer(text)])}
        places |= {tag: text.find(tag) for tag in other}
        return sorted(places.keys() - self.tags, key=places.__getitem__)

    def unread(self, text: str) -> tuple[str, ...]:
        """Return (): every byte has a token, so nothing is left unread."""
        return ()


def drop_unknown_tags(text: str, tokenizer: GPT2Tokenizer) -> tuple[str, list[str]]:
    """Remove unknown tags, with the space around them, from a text; return it and these tags.

    Call it before `punc_norm`, so that the sentence that remains is made whole.
    """
    unknown = tokenizer.unknown_tags(text)
    return without(text, unknown), unknown


def _base_tokenizer(folder: Path, add_prefix_space: bool) -> Tokenizer:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    is_whole = (folder / WHOLE).is_file()
    names: tuple[str, ...] = (WHOLE,) if is_whole else (VOCABULARY, MERGES)

    def build() -> Tokenizer:
        if is_whole:
            return Tokenizer.from_file(str(folder / WHOLE))
        return Tokenizer(models.BPE.from_file(str(folder / VOCABULARY), str(folder / MERGES)))

    for name in names:
        if not (folder / name).is_file():
            raise CheckpointError(f"{folder / name} is missing: the checkpoint has no tokenizer.")
    if is_whole:
        check_tokenizer_file(folder / WHOLE)
    else:
        check_vocabulary_file(folder / VOCABULARY)
    tokenizer = tokenizer_call(
        build, lambda why: CheckpointError(f"{folder / names[0]} is not a tokenizer: {why}.")
    )
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _added_tokens(folder: Path, settings: dict) -> list[tuple[int, AddedToken]]:
    """The added tokens as (id, token), in the order of ids, from transformers' description."""
    from tokenizers import AddedToken

    described = settings.get("added_tokens_decoder")
    try:
        if described is not None:
            described = {int(index): token for index, token in described.items()}
            if not all(token.get("content") for token in described.values()):
                raise ValueError("one has no content")
            tokens = {index: AddedToken(**token) for index, token in described.items()}
        elif (folder / ADDED).is_file():
            names = read_json(folder / ADDED)
            tokens = {
                int(index): AddedToken(name, normalized=True) for name, index in names.items()
            }
        else:
            tokens = {}
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise CheckpointError(
            f"{folder}: the added tokens cannot be read: {named(str(error))}."
        ) from None
    return sorted(tokens.items())
