"""The multilingual tokenizer. Source: upstream `models/tokenizers/tokenizer.py` (`MTLTokenizer`),
and mlx-audio's `chatterbox/tokenizer.py` for checkpoints that ask for "nfkd,fullcase"."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from unicodedata import normalize

from ..errors import CheckpointError, TextError
from ..harmless import shortened
from .files import CANGJIE_FILE
from .languages import he, ja, ko, ru, zh
from .tokenizer import SpacedTokenizer, letters_and_digits

SUPPORTED_LANGUAGES = {
    "ar": "Arabic",
    "da": "Danish",
    "de": "German",
    "el": "Greek",
    "en": "English",
    "es": "Spanish",
    "fi": "Finnish",
    "fr": "French",
    "he": "Hebrew",
    "hi": "Hindi",
    "it": "Italian",
    "ja": "Japanese",
    "ko": "Korean",
    "ms": "Malay",
    "nl": "Dutch",
    "no": "Norwegian",
    "pl": "Polish",
    "pt": "Portuguese",
    "ru": "Russian",
    "sv": "Swedish",
    "sw": "Swahili",
    "tr": "Turkish",
    "zh": "Chinese",
}
LOWER, FULL_CASE = "lower,nfkd", "nfkd,fullcase"
_LEGACY = "legacy"  # mlx-audio's name of upstream's path


class MultilingualTokenizer(SpacedTokenizer):
    """Text to ids for 23 languages, and for those that a fine-tuned model has learnt.

    `preprocessing` is a checkpoint's `text_preprocessing`, in either case:

    - "lower,nfkd", upstream's for every checkpoint: lower case, then NFKD, then the language's
      front end (zh Cangjie, ja readings, ko Jamo, he points, ru stress).
    - "nfkd,fullcase", mlx-audio's for v3: capitals stay; the front ends of zh and ru come before
      NFKD and those of ja, ko and he are left out (NFKD gives Jamo anyway; kanji stay kanji).

    Then, both: the tag `[xx]` of the language in front, if one is given, and spaces to `[SPACE]`.

    Attributes:
        languages: the codes that are known.
    """

    def __init__(
        self,
        path: str | Path,
        cangjie_path: str | Path | None = None,
        preprocessing: str = LOWER,
        *,
        hebrew_model: str | Path | None = None,
        languages: Sequence[str] = (),
    ):
        """Read the vocabulary; the languages' own files are read when they are first needed.

        Args:
            path: the vocabulary, upstream's `grapheme_mtl_merged_expanded_v1.json`.
            cangjie_path: codes of Chinese characters; by default `Cangjie5_TC.json` beside `path`.
            hebrew_model: ONNX file that sets Hebrew points; see `languages.he`.
            languages: codes beyond `SUPPORTED_LANGUAGES`, which a fine-tuned model has learnt; the
                vocabulary has the tag of each.

        Raises:
            CheckpointError: the vocabulary is missing or damaged, or `preprocessing` is unknown.
        """
        super().__init__(path)
        wanted = preprocessing.lower().replace(" ", "")
        if wanted not in (LOWER, FULL_CASE, _LEGACY):
            raise CheckpointError(
                f"unknown text preprocessing {preprocessing!r}; known are {LOWER} and {FULL_CASE}."
            )
        self.keeps_case = wanted == FULL_CASE
        self._cangjie = zh.CangjieConverter(cangjie_path or Path(path).with_name(CANGJIE_FILE))
        self._hebrew_model = hebrew_model
        self.languages = (*SUPPORTED_LANGUAGES, *languages)

    def encode(self, text: str, language_id: str | None = None) -> list[int]:
        """Token ids, without start and stop.

        Args:
            language_id: one of `languages`; None or "" gives no tag and no front end.

        Raises:
            TextError: unknown language, or Japanese without its front end.
        """
        language = self._checked(language_id)
        text = self._prepared(text, language)
        return self._ids(f"[{language}]{text}" if language else text)

    def knows_any(self, text: str, language_id: str | None = None) -> bool:
        """Return True where a letter or digit of a text, after the front end, is in the vocabulary.

        Raises:
            TextError: as `encode`.
        """
        language = self._checked(language_id)
        spoken = letters_and_digits(text)
        if language == "zh":
            return self._has_known(self._cangjie.codes(normalize("NFKD", self._cased(spoken))))
        # Only ja's front end is needed: those of other languages add no letters.
        return self._has_known(self._prepared(spoken, "ja" if language == "ja" else None))

    def unread(self, text: str, language_id: str | None = None) -> tuple[str, ...]:
        """Stretches of a text that the vocabulary lacks after the language's front end.

        Raises:
            TextError: as `encode`.
        """
        return super().unread(text, self._checked(language_id))

    def _alone(self, character: str, language_id: str | None) -> str:
        # As in `knows_any`: other front ends add no letters.
        return self._prepared(character, language_id if language_id in ("zh", "ja") else None)

    def _checked(self, language_id: str | None) -> str | None:
        """Return a known code in lower case; None for None or ""."""
        if not language_id:
            return None
        language = language_id.lower()
        if language not in self.languages:
            raise TextError(
                f"unknown language {shortened(language_id)!r}; known are "
                f"{', '.join(self.languages)}."
            )
        return language

    def _cased(self, text: str) -> str:
        return text if self.keeps_case else text.lower()

    def _prepared(self, text: str, language: str | None) -> str:
        if self.keeps_case:
            if language in ("zh", "ru"):
                text = self._front_end(text, language)
            return normalize("NFKD", text)
        return self._front_end(normalize("NFKD", self._cased(text)), language)

    def _front_end(self, text: str, language: str | None) -> str:
        if language == "zh":
            return self._cangjie(text)
        if language == "ja":
            return ja.kanji_to_hiragana(text)
        if language == "ko":
            return ko.syllables_to_jamo(text)
        if language == "he":
            return he.add_points(text, self._hebrew_model)
        if language == "ru":
            return ru.add_stress(text)
        return text
