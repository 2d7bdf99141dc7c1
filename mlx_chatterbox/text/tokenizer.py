"""The English tokenizer, and the base class that it shares with the multilingual one.

Source: upstream `models/tokenizers/tokenizer.py` (`EnTokenizer`).
"""

from __future__ import annotations

from pathlib import Path

from ..checks.tokenizer_file import check_tokenizer_file, tokenizer_call
from ..errors import CheckpointError
from .unread import unread_runs

START = "[START]"
STOP = "[STOP]"
UNKNOWN = "[UNK]"
SPACE = "[SPACE]"


class SpacedTokenizer:
    """A vocabulary file of the `tokenizers` library in which a space is a token of its own."""

    def __init__(self, path: str | Path):
        """Read the vocabulary.

        Raises:
            CheckpointError: the file is missing, damaged, or lacks the start or stop token.
        """
        from tokenizers import Tokenizer

        if not Path(path).is_file():
            raise CheckpointError(f"{path} is missing: the checkpoint has no tokenizer.")
        check_tokenizer_file(path)
        self._tokenizer = tokenizer_call(
            lambda: Tokenizer.from_file(str(path)),
            lambda why: CheckpointError(f"{path} is not a tokenizer: {why}."),
        )
        for token in (START, STOP):
            if self._tokenizer.token_to_id(token) is None:
                raise CheckpointError(f"{path} has no {token} token: another model's tokenizer?")
        self._unknown = self._tokenizer.token_to_id(UNKNOWN)
        self._space = self._tokenizer.token_to_id(SPACE)
        self._known: dict[tuple[str, str | None], bool] = {}

    def _ids(self, text: str) -> list[int]:
        text = text.replace(" ", SPACE)
        return tokenizer_call(
            lambda: self._tokenizer.encode(text).ids,
            lambda why: CheckpointError(f"the tokenizer fails, its file is damaged: {why}."),
        )

    def _has_known(self, text: str) -> bool:
        return any(token not in (self._unknown, self._space) for token in self._ids(text))

    def has_token(self, text: str) -> bool:
        """Return True where a text is one token of the vocabulary, such as "[sigh]"."""
        return self._tokenizer.token_to_id(text) is not None

    def unread(self, text: str, language_id: str | None = None) -> tuple[str, ...]:
        """Stretches of a text that the vocabulary lacks, each once, in order.

        Args:
            text: as `encode` takes it.
        """
        return unread_runs(text, lambda character: self._knows(character, language_id))

    def _knows(self, character: str, language_id: str | None) -> bool:
        key = character, language_id
        if key not in self._known:
            self._known[key] = self._unknown not in self._ids(self._alone(*key))
        return self._known[key]

    def _alone(self, character: str, language_id: str | None) -> str:
        """A character as it is looked up in the vocabulary."""
        return character

    def decode(self, ids: list[int]) -> str:
        """The text of token ids; start and unknown markers as upstream leaves them."""
        text = self._tokenizer.decode(ids, skip_special_tokens=False)
        for old, new in ((" ", ""), (SPACE, " "), (STOP, ""), (UNKNOWN, "")):
            text = text.replace(old, new)
        return text


class EnglishTokenizer(SpacedTokenizer):
    """Byte-pair tokens of a checkpoint's `tokenizer.json`."""

    def encode(self, text: str) -> list[int]:
        """Token ids, without start and stop."""
        return self._ids(text)

    def knows_any(self, text: str) -> bool:
        """Return True where a letter or digit of the text is in the vocabulary."""
        return self._has_known(letters_and_digits(text))


def letters_and_digits(text: str) -> str:
    """The letters and digits of a text, to tell a text from mere punctuation."""
    return "".join(character for character in text if character.isalnum())
