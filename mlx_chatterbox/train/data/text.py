"""Tokens of a clip's text, as the model would get them when it speaks that text."""

from __future__ import annotations

import numpy as np

from ...errors import TextError
from ...models.config import ModelConfig
from ...text.gpt2 import drop_unknown_tags
from ...text.multilingual import SUPPORTED_LANGUAGES
from ...text.normalize import punc_norm
from ...text.writing import Writing, writing_for


class TextEncoder:
    """A checkpoint's tokenizer, with its normalising in front and start and stop around it.

    Equal to what `TextSplitter` does, tested there; here what is wrong with a text is
    an error, never a warning.
    """

    def __init__(self, tokenizer, config: ModelConfig, normalize: bool | None = None):
        """normalize: as of `writing_for`."""
        self._tokenizer = tokenizer
        self._config, self._normalize = config.text, normalize
        self._writings: dict[str | None, Writing] = {}
        self._kind = config.text.tokenizer
        self._style = config.text.punctuation
        self._start, self._stop = config.t3.start_text_token, config.t3.stop_text_token
        self._known: dict[tuple[str, str | None], bool] = {}

    def __call__(self, text: str, language: str | None = None) -> np.ndarray:
        """Token ids (m,) int32; for the Llama models with start and stop.

        Raises:
            TextError: no letter, none that the model knows, an unknown tag, an unknown language.
        """
        if not any(map(str.isalnum, text)):
            raise TextError("there is no letter or digit in it.")
        if self._kind == "gpt2":
            _, unknown = drop_unknown_tags(text, self._tokenizer)
            if unknown:
                raise TextError(f"unknown tag(s) {', '.join(unknown)}: take them out.")
            ids = self._tokenizer.encode(self.normalized(text))
            return np.array(ids, dtype=np.int32)
        languages = self._languages(language)
        if not self._tokenizer.knows_any(text, *languages):
            raise TextError("the model knows none of its letters.")
        ids = self._tokenizer.encode(self.normalized(text), *languages)
        return np.array([self._start, *ids, self._stop], dtype=np.int32)

    def written(self, text: str, language: str | None = None) -> str:
        """The text with numbers, abbreviations and signs in words, if that is done."""
        if language not in self._writings:
            self._writings[language] = writing_for(self._config, language, self._normalize)
        return self._writings[language](text)

    def notes(self) -> list[str]:
        """What is to be told of the texts that were written out."""
        notes = [str(note) for one in self._writings.values() for note in one.notes()]
        return list(dict.fromkeys(notes))

    @property
    def languages(self) -> tuple[str, ...]:
        """Codes that the model knows; without a choice of languages, those that are usual."""
        return tuple(getattr(self._tokenizer, "languages", SUPPORTED_LANGUAGES))

    def normalized(self, text: str) -> str:
        """A text as it goes to the tokenizer: punctuation and capitals as the model has them."""
        if self._kind == "gpt2":
            return punc_norm(text, self._style)
        keeps_case = getattr(self._tokenizer, "keeps_case", False)
        return punc_norm(text, self._style, capitalize=not keeps_case)

    def phones(self, text: str) -> str | None:
        """Its phones, for a model that reads those; None for one that reads letters."""
        spoken = getattr(self._tokenizer, "phones", None)
        return None if spoken is None else spoken(self.normalized(text))

    def unknown_letters(self, text: str, language: str | None = None) -> list[str]:
        """Letters and digits that the vocabulary lacks, each once, in alphabetical order."""
        if self._kind == "gpt2":
            return []
        return sorted(c for c in set(text) if c.isalnum() and not self._knows(c, language))

    def _knows(self, character: str, language: str | None) -> bool:
        key = character, language
        if key not in self._known:
            self._known[key] = self._tokenizer.knows_any(character, *self._languages(language))
        return self._known[key]

    def _languages(self, language: str | None) -> tuple:
        return (language,) if self._kind == "multilingual" else ()
