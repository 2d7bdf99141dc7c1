"""Tokens of a clip's text, the same that the model gets to speak that text."""

from __future__ import annotations

import numpy as np

from ...errors import TextError
from ...models.config import ModelConfig
from ...text.gpt2 import drop_unknown_tags
from ...text.multilingual import SUPPORTED_LANGUAGES
from ...text.normalize import punc_norm
from ...text.writing import Writing, writing_for


class TextEncoder:
    """A checkpoint's tokenizer with its normalisation and its start and stop tokens.

    Its tokens are those of `TextSplitter`, by whose tests it is compared. Problems of a text are
    errors, never warnings.
    """

    def __init__(self, tokenizer, config: ModelConfig, normalize: bool | None = None):
        """Wrap a tokenizer; `normalize` as in `writing_for`."""
        self._tokenizer = tokenizer
        self._config, self._normalize = config.text, normalize
        self._writings: dict[str | None, Writing] = {}
        self._kind = config.text.tokenizer
        self._style = config.text.punctuation
        self._start, self._stop = config.t3.start_text_token, config.t3.stop_text_token
        self._known: dict[tuple[str, str | None], bool] = {}

    def __call__(self, text: str, language: str | None = None) -> np.ndarray:
        """Encode to token ids (m,) int32; for the Llama models with start and stop.

        Raises:
            TextError: no letter, none that the model knows, an unknown tag or language.
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
        """Write numbers, abbreviations and signs out in words, if `normalize` is on."""
        if language not in self._writings:
            self._writings[language] = writing_for(self._config, language, self._normalize)
        return self._writings[language](text)

    def notes(self) -> list[str]:
        """Return notes to the user on the texts that were written out."""
        notes = [str(note) for one in self._writings.values() for note in one.notes()]
        return list(dict.fromkeys(notes))

    @property
    def languages(self) -> tuple[str, ...]:
        """Language codes of the model; of one without languages, the usual codes."""
        return tuple(getattr(self._tokenizer, "languages", SUPPORTED_LANGUAGES))

    def normalized(self, text: str) -> str:
        """Normalise punctuation and capitals for the tokenizer."""
        if self._kind == "gpt2":
            return punc_norm(text, self._style)
        keeps_case = getattr(self._tokenizer, "keeps_case", False)
        return punc_norm(text, self._style, capitalize=not keeps_case)

    def phones(self, text: str) -> str | None:
        """Return a text's phones for a model that reads phones; None for other models."""
        spoken = getattr(self._tokenizer, "phones", None)
        return None if spoken is None else spoken(self.normalized(text))

    def unknown_letters(self, text: str, language: str | None = None) -> list[str]:
        """Return letters and digits that the vocabulary lacks, each once, sorted."""
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
