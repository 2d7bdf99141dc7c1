"""Preparation of a caller's text before it is cut and spoken: respelling, then writing out."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Literal

from ..errors import SettingError
from ..models.config import TextConfig
from .flash.cleaner import en_us_cleaner
from .pauses import between_pauses
from .respelling import Lexicon, Respelling, respelling_of
from .scripts import HELD, SpokenLimit
from .spoken import reader_of, spoken_form
from .spoken.signs import without_marks
from .unread import UnreadWarning, quoted_list

# Instead of this library's rules, those that Chatterbox-Flash has upstream, mistakes included.
UPSTREAM: Literal["upstream"] = "upstream"
# Not even marks are changed, as upstream's `normalize_text=False` has it.
UNCHANGED: Literal["unchanged"] = "unchanged"
Normalize = bool | Literal["upstream", "unchanged"] | None


def exact(normalize: Normalize) -> Normalize:
    """The choice by which upstream's package reads a text, as it has two: its cleaner, and none."""
    if isinstance(normalize, str) or normalize:
        return normalize
    return UPSTREAM if normalize is None else UNCHANGED


class Writing:
    """Respells and writes out texts of one language: `writing(text)`.

    Args:
        cleaner: writes texts out instead of the language's rules.

    Attributes:
        normalizes: whether texts are written out; False where the language has no rules.
        unknown_language: asked for rules that the language does not have.
    """

    def __init__(
        self,
        respell: Respelling | None,
        normalizes: bool,
        language: str | None,
        cleaner: Callable[[str], str] | None = None,
    ):
        self._respell, self._language, self._cleaner = respell, language, cleaner
        self._reader = reader_of(language) if normalizes and cleaner is None else None
        self.unknown_language = normalizes and cleaner is None and self._reader is None
        self.normalizes = normalizes and not self.unknown_language
        self._left_out: dict[str, None] = {}
        self._as_written: dict[str, None] = {}
        self._cached = lru_cache(maxsize=4096)(self._write)

    def __call__(self, text: str) -> str:
        """Write a text out as it is spoken."""
        return self._cached(text)

    def _write(self, text: str) -> str:
        if self._respell is not None:
            text = self._respell(text)
        if not self.normalizes:
            return text
        if self._cleaner is not None:
            return between_pauses(text, self._cleaner)
        form = spoken_form(text, self._language)
        self._left_out.update(dict.fromkeys(form.left_out))
        self._as_written.update(dict.fromkeys(form.as_written))
        return form.text

    def left_out(self, text: str) -> tuple[str, ...]:
        """The characters of a text that have no words, such as emoji, each once."""
        by_rules = self.normalizes and self._cleaner is None
        return tuple(without_marks(text)[1]) if by_rules else ()

    def held(self, text: str) -> str:
        """Protect what is read as one ("5 March 2024") from being cut: its spaces become `HELD`."""
        if self._reader is None:
            return text
        parts, done = [], 0
        for change in self._reader.replacements(text):
            parts.append(text[done : change.start])
            parts.append(text[change.start : change.end].replace(" ", HELD))
            done = change.end
        return "".join([*parts, text[done:]])

    def room(self, longest: int) -> int:
        """The limit `longest` on pieces, counted in the text as it will be spoken."""
        return SpokenLimit(longest, self) if self.normalizes else longest

    def notes(self) -> list[Warning]:
        """Warnings about the texts so far, one line each; every warning is returned once."""
        warnings: list[Warning] = []
        if self.unknown_language:
            of = f"for the language {self._language!r}" if self._language else "without a language"
            warnings.append(
                UserWarning(f"there are no rules {of}: the text is spoken as it is written")
            )
            self.unknown_language = False
        if self._left_out:
            shown = " ".join(self._left_out)
            warnings.append(UnreadWarning(f"left out, since it has no words: {shown}"))
            self._left_out.clear()
        if self._as_written:
            shown = quoted_list(tuple(self._as_written))
            why = f"since there are no rules for it in {self._language!r}"
            warnings.append(UserWarning(f"read as written, {why}: {shown}"))
            self._as_written.clear()
        return warnings


def writing_for(
    config: TextConfig,
    language: str | None,
    normalize: Normalize = None,
    lexicon: Lexicon = None,
) -> Writing:
    """Make the `Writing` that prepares texts for a checkpoint.

    Args:
        config: the checkpoint's; an English one has no other language.
        normalize: whether to write texts out; None: the checkpoint's setting; `UPSTREAM`: as
            upstream's cleaner does (`text/flash/cleaner.py`); `UNCHANGED`: no.

    Raises:
        TextError: as `Respelling`; a text that upstream's cleaner fails on.
        SettingError: upstream has no cleaner for this model.
    """
    if config.tokenizer != "multilingual":
        language = "en"
    if isinstance(normalize, str):
        if normalize not in (UPSTREAM, UNCHANGED) or config.punctuation != "flash":
            raise SettingError(
                f"normalize={normalize!r}: there are True, False and None, and for "
                f"Chatterbox-Flash {UPSTREAM!r}, its own cleaner, and {UNCHANGED!r}."
            )
        is_written = normalize == UPSTREAM
        return Writing(respelling_of(lexicon), is_written, language, en_us_cleaner)
    normalizes = config.normalize if normalize is None else normalize
    return Writing(respelling_of(lexicon), normalizes, language)
