"""What a caller's text becomes before it is cut and spoken: words respelled, then written out."""

from __future__ import annotations

from functools import lru_cache

from ..models.config import TextConfig
from .respelling import Lexicon, Respelling, respelling_of
from .scripts import HELD, Room
from .spoken import reader_of, spoken_form
from .spoken.signs import without_marks
from .unread import UnreadWarning, shortened


class Writing:
    """Respells and writes out texts of one language: `writing(text)`.

    Attributes:
        normalizes: whether texts are written out; False where the language has no rules.
        unknown_language: asked for rules that the language does not have.
    """

    def __init__(self, respell: Respelling | None, normalizes: bool, language: str | None):
        self._respell, self._language = respell, language
        self.unknown_language = normalizes and reader_of(language) is None
        self.normalizes = normalizes and not self.unknown_language
        self._left_out: dict[str, None] = {}
        self._as_written: dict[str, None] = {}
        self._cached = lru_cache(maxsize=4096)(self._write)

    def __call__(self, text: str) -> str:
        """The text as it is spoken."""
        return self._cached(text)

    def _write(self, text: str) -> str:
        if self._respell is not None:
            text = self._respell(text)
        if not self.normalizes:
            return text
        form = spoken_form(text, self._language)
        self._left_out.update(dict.fromkeys(form.left_out))
        self._as_written.update(dict.fromkeys(form.as_written))
        return form.text

    def left_out(self, text: str) -> tuple[str, ...]:
        """What of a text has no words, such as emoji, each once."""
        return tuple(without_marks(text)[1]) if self.normalizes else ()

    def held(self, text: str) -> str:
        """The text with what is read as one ("5 March 2024") held together, so that no cut lies in
        it: spaces within it are `HELD`."""
        if not self.normalizes:
            return text
        parts, done = [], 0
        for change in reader_of(self._language).changes(text):
            parts += [text[done : change.start]]
            parts.append(text[change.start : change.end].replace(" ", HELD))
            done = change.end
        return "".join([*parts, text[done:]])

    def room(self, longest: int) -> int:
        """A length in which texts are measured as they will be spoken."""
        return Room(longest, self) if self.normalizes else longest

    def notes(self) -> list[Warning]:
        """What is to be told of the texts so far, a warning a line; told once."""
        found: list[Warning] = []
        if self.unknown_language:
            of = f"for the language {self._language!r}" if self._language else "without a language"
            found.append(
                UserWarning(f"there are no rules {of}: the text is spoken as it is written")
            )
            self.unknown_language = False
        if self._left_out:
            shown = " ".join(self._left_out)
            found.append(UnreadWarning(f"left out, since it has no words: {shown}"))
            self._left_out.clear()
        if self._as_written:
            shown = shortened(tuple(self._as_written))
            why = f"since there are no rules for it in {self._language!r}"
            found.append(UserWarning(f"read as written, {why}: {shown}"))
            self._as_written.clear()
        return found


def writing_for(
    config: TextConfig,
    language: str | None,
    normalize: bool | None = None,
    lexicon: Lexicon = None,
) -> Writing:
    """How texts for a checkpoint are written.

    Args:
        config: the checkpoint's; an English one has no other language.
        normalize: None does what the checkpoint says.

    Raises:
        TextError: as `Respelling`.
    """
    if config.tokenizer != "multilingual":
        language = "en"
    normalizes = config.normalize if normalize is None else normalize
    return Writing(respelling_of(lexicon), normalizes, language)
