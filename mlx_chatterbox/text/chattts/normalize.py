"""Normalising of texts for ChatTTS, which knows Chinese characters, Latin letters and four marks.

Upstream deletes digits, question marks and letters with accents without a word. Here numbers and
signs are first written out as for every model (`text/spoken`), a question mark becomes a full stop,
an accent is dropped; whatever must still be deleted is part of the result.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ...errors import TextError
from ..checked_text import checked_text, described
from ..spoken import spoken_form
from ..tags import is_tag
from ..unread import quoted_list, unread_runs
from .characters import (
    FULL_WIDTH,
    INVALID,
    SIMPLER,
    SIMPLER_BESIDES,
    SIMPLER_IN_CHINESE,
    half_width,
    language_of,
    without_accents,
)
from .homophones import HomophoneTable, warn_of_no_table
from .special_tokens import IN_TEXT, MARKS, TOKEN

TextFunction = Callable[[str], str]
_BRACKETED = re.compile(r"\[([^\[\]\n]{1,40})\]")
_SPACES = re.compile(r"\s+")
_QUOTES = frozenset("\"'“”‘’«»„‚`´＂＇")
_BLANKS = str.maketrans(dict.fromkeys(_QUOTES, " "))
# Without its apostrophe "we'll" would be read as "well".
_CONTRACTION = re.compile(r"(?<=[A-Za-z])['’](ll|re|ve|m)\b", re.IGNORECASE)
_CONTRACTED = {"ll": " will", "re": " are", "ve": " have", "m": " am"}
# "twenty-one", which upstream reads with a pause in it.
_HYPHEN = re.compile(r"(?<=[A-Za-z])[-\u2010\u2011](?=[A-Za-z])")
_HALF_WIDTH = {ord(wide): half for half, wide in FULL_WIDTH.items()}
_TRIAL = "[uv_break] 你好，world! 今天 3 o'clock。 ok?"


@dataclass(frozen=True)
class NormalText:
    """A text that the model can read.

    Attributes:
        language: "zh" or "en", or the caller's.
        left_out: tags and characters that were deleted, each once.
        simplified: marks that were written as a comma or a full stop, and letters that lost an
            accent, each once.
    """

    text: str
    language: str
    left_out: tuple[str, ...] = ()
    simplified: tuple[str, ...] = ()


class ChatTTSNormalizer:
    """Normalises texts: `normalizer(text)`.

    Functions may be registered that write out the texts of a language instead of the rules here,
    as upstream's plug-ins do.
    """

    def __init__(
        self,
        homophones: HomophoneTable | None = None,
        knows: Callable[[str], bool] = IN_TEXT.__contains__,
        as_upstream: bool = False,
    ):
        """Make one without functions.

        Args:
            knows: tells whether a text in brackets is a token that may stand in a text.
            as_upstream: delete what upstream deletes, and read tags of other models as it does.
        """
        self.homophones, self._knows, self._as_upstream = homophones, knows, as_upstream
        self._functions: dict[str, TextFunction] = {}

    def register(self, language: str, function: TextFunction) -> bool:
        """Let a function write out the texts of a language, after a trial.

        Returns:
            False if the language has one, or it fails on the trial or returns no text.
        """
        if language in self._functions or not callable(function):
            return False
        try:
            is_text = isinstance(function(_TRIAL), str)
        except Exception:  # of whatever kind: the function is the user's
            return False
        if is_text:
            self._functions[language] = function
        return is_text

    def unregister(self, language: str) -> None:
        """Let the rules here write out the texts of a language again."""
        self._functions.pop(language, None)

    def __call__(
        self,
        text: str,
        normalize: bool = True,
        replace_homophones: bool = True,
        language: str | None = None,
    ) -> NormalText:
        """Normalise a text.

        Args:
            normalize: write it out; otherwise only replace and delete what the model does not know.
            replace_homophones: of rare Chinese characters, if there is a table.
            language: "zh" or "en"; None: by its characters.

        Raises:
            TextError: not a text, or a registered function fails.
        """
        text = whole = checked_text(text)
        language = language or language_of(TOKEN.sub(" ", text))
        left_out: dict[str, None] = {}
        simplified: dict[str, None] = {}
        if not self._as_upstream:
            text = self._settle_tags(half_width(text), left_out)
        parts = _parts(text)
        if normalize:
            parts = _runs(parts, lambda run: self._written_out(run, language, left_out))
        if not self._as_upstream:
            parts = _runs(parts, lambda run: _widened(run, language, simplified))
        parts = _runs(parts, lambda run: _simplified(run, simplified))
        if replace_homophones:
            parts = _runs(parts, self._common)
        for run in parts[::2]:
            left_out.update(dict.fromkeys(unread_runs(run.translate(_BLANKS), _is_valid)))
            left_out.update(dict.fromkeys(one for one in run if one in _QUOTES))
        parts = _runs(parts, self._delete)
        return NormalText(
            "".join(parts), language, _as_written(left_out, whole), _as_written(simplified, whole)
        )

    def _settle_tags(self, text: str, left_out: dict[str, None]) -> str:
        """Keep the tokens of the model; leave out its marks, and tags of other models; read other
        texts in brackets without these."""

        def settled(match: re.Match) -> str:
            tag = match.group()
            for one in (tag, tag.lower()):
                if self._knows(one):
                    return one
            if tag in MARKS or is_tag(tag):
                left_out[tag] = None
                return ""
            return match.group(1)

        return _BRACKETED.sub(settled, text)

    def _written_out(self, run: str, language: str, left_out: dict[str, None]) -> str:
        function = self._functions.get(language)
        if function is not None:
            run = _called(function, run, language)
        elif not self._as_upstream:
            form = spoken_form(run, language)
            left_out.update(dict.fromkeys(form.left_out))
            run = form.text
        return run.translate(FULL_WIDTH) if language == "zh" else run

    def _common(self, run: str) -> str:
        if self.homophones is None:
            warn_of_no_table(run)
            return run
        return self.homophones(run)

    def _delete(self, run: str) -> str:
        if self._as_upstream:
            return INVALID.sub("", run)
        return INVALID.sub(_gap, run)


def left_out_note(texts: Iterable[NormalText]) -> str:
    """A note on what was deleted from texts, in one line; "" if that was nothing.

    Quotation marks are not worth one: they are never spoken.
    """
    parts = dict.fromkeys(one for text in texts for one in text.left_out)
    worth = [one for one in parts if not _QUOTES.issuperset(one)]
    return f"left out, since ChatTTS does not know it: {quoted_list(worth)}" if worth else ""


def _as_written(parts: Iterable[str], text: str) -> tuple[str, ...]:
    """Parts of a text as they are in it: marks may have got full width since."""
    halves = (part if part in text else part.translate(_HALF_WIDTH) for part in parts)
    return tuple(dict.fromkeys(halves))


def _is_valid(character: str) -> bool:
    return not INVALID.search(character)


def _parts(text: str) -> list[str]:
    """Split into runs of text, at even places, and tokens between them."""
    return re.split(f"({TOKEN.pattern})", text)


def _runs(parts: list[str], function: TextFunction) -> list[str]:
    """Apply a function to the runs, not to the tokens."""
    return [part if i % 2 else function(part) for i, part in enumerate(parts)]


def _called(function: TextFunction, run: str, language: str) -> str:
    if not run.strip():
        return run
    try:
        result = function(run)
    except Exception as error:  # of whatever kind: the function is the user's
        raise TextError(
            f"the normaliser registered for {language!r} fails: {type(error).__name__}: {error}."
        ) from error
    if not isinstance(result, str):
        raise TextError(
            f"the normaliser registered for {language!r} returned {described(result)}, not a text."
        )
    return result


def _widened(run: str, language: str, simplified: dict[str, None]) -> str:
    """Write what upstream deletes as what the model knows, where that can be done."""
    run = _SPACES.sub(" ", run)
    if language == "en":
        run = _CONTRACTION.sub(lambda match: _CONTRACTED[match.group(1).lower()], run)
    run = _HYPHEN.sub(" ", run)
    plain = without_accents(run)
    simplified.update(dict.fromkeys(one for one in run if one not in plain and one.isalpha()))
    if language == "zh":
        plain = plain.translate(SIMPLER_IN_CHINESE)
    marks = plain.translate(SIMPLER_BESIDES)
    simplified.update(dict.fromkeys(one for one in plain if ord(one) in SIMPLER_BESIDES))
    return marks


def _simplified(run: str, simplified: dict[str, None]) -> str:
    simplified.update(dict.fromkeys(one for one in run if ord(one) in SIMPLER))
    return run.translate(SIMPLER)


def _gap(match: re.Match) -> str:
    """The text in place of a deleted character: a space between letters, but for apostrophes."""
    before, after = match.string[: match.start()][-1:], match.string[match.end() :][:1]
    if match.group() in _QUOTES or not (before.isascii() and before.isalpha()):
        return ""
    return " " if after.isascii() and after.isalpha() else ""
