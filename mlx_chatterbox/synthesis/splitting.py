"""Split texts into the pieces that are spoken in one go, each with its text tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import mlx.core as mx

from ..errors import errors_about, warn_user
from ..text.checked_text import checked_text
from ..text.pauses import Segment, segments, without_pauses
from ..text.reading import read_text, without_mere_tags
from ..text.respelling import Lexicon
from ..text.unread import UnreadWarning, merged, quoted_list
from ..text.unwritten import unwritten
from ..text.writing import Normalize, Writing, writing_for

if TYPE_CHECKING:
    from ..models.config import ModelConfig


@dataclass(frozen=True)
class TextPiece:
    """A piece of a text, as the model reads it.

    Attributes:
        text: the caller's, its words respelled and written out.
        ids: (n,) text tokens, for the Llama with start and stop.
        read: the part of the text that the model reads.
        unread: letters, symbols and tags that it does not know.
        pause_before, pause_after: seconds of silence.
    """

    text: str
    ids: mx.array
    read: str = ""
    unread: tuple[str, ...] = ()
    pause_before: float = 0.0
    pause_after: float = 0.0


@dataclass(frozen=True)
class ReadingOptions:
    """Options of reading a text.

    Attributes:
        language_id: of the multilingual models.
        normalize, lexicon: as in `SpeechOptions`.
        name: of these options, for errors; "" if they are those of all texts.
    """

    language_id: str | None = None
    normalize: Normalize = None
    lexicon: Lexicon = None
    name: str = field(default="", compare=False)


def split_texts(
    config: ModelConfig,
    tokenizer,
    texts: Sequence[str],
    options: Sequence[ReadingOptions],
    names: Sequence[str],
) -> tuple[tuple[TextPiece, ...], ...]:
    """The pieces of each text; warns once of what several texts read alike have in common.

    Args:
        options: one for each text.
        names: of the texts, for errors; "" names none.

    Raises:
        TextError: as `TextSplitter.split`; a lexicon that cannot be used.
    """
    alike: list[tuple[ReadingOptions, list[int]]] = []
    for number, one in enumerate(options):
        numbers = next((numbers for other, numbers in alike if other == one), None)
        if numbers is None:
            alike.append((one, [number]))
        else:
            numbers.append(number)
    pieces: dict[int, tuple[TextPiece, ...]] = {}
    for one, numbers in alike:
        with errors_about(one.name):
            splitter = TextSplitter(config, tokenizer, one.language_id, one.normalize, one.lexicon)
        split = splitter.split([texts[i] for i in numbers], [names[i] for i in numbers])
        pieces.update(zip(numbers, split, strict=True))
    return tuple(pieces[number] for number in range(len(texts)))


class TextSplitter:
    """Splits texts in one language for one model.

    Args:
        language_id: of the multilingual models.
        normalize, lexicon: as in `SpeechOptions`.
    """

    def __init__(
        self,
        config: ModelConfig,
        tokenizer,
        language_id: str | None = None,
        normalize: Normalize = None,
        lexicon: Lexicon = None,
    ):
        self._writing = writing_for(config.text, language_id, normalize, lexicon)
        if isinstance(normalize, str):  # to the letter, so nothing may change it afterwards
            config = replace(config, text=replace(config.text, punctuation="unchanged"))
        self._config, self._tokenizer, self._language = config, tokenizer, language_id

    def split(self, texts: Sequence[str], names: Sequence[str]) -> list[tuple[TextPiece, ...]]:
        """The pieces of each text; warns of parts that are not spoken as they are written.

        Args:
            names: of the texts, for errors; "" names none.

        Raises:
            TextError: nothing to speak, or nothing that the model knows; an unknown language.
        """
        texts = [checked_text(text) for text in texts]
        spoken, tags = [], []
        for name, text in zip(names, texts, strict=True):
            with errors_about(name):
                of_text, of_text_tags = self._segments(text)
            spoken.append(of_text)
            tags.append(of_text_tags)
        _warn(self._writing, self._tokenizer, texts, merged(tags))
        pieces = []
        for name, text, of_text, of_text_tags in zip(names, texts, spoken, tags, strict=True):
            with errors_about(name):
                without_words = merged([self._writing.left_out(text), of_text_tags])
                pieces.append(self._pieces(of_text, without_words))
        return pieces

    def _segments(self, text: str) -> tuple[list[Segment], tuple[str, ...]]:
        """The segments of a text, and its tags that are not read."""
        longest, kind = self._config.generation.longest_piece, self._config.text.tokenizer
        written = segments(self._writing(text), longest, self._language)
        return without_mere_tags(written, self._tokenizer, kind)

    def _pieces(
        self, of_text: Sequence[Segment], without_words: tuple[str, ...]
    ) -> tuple[TextPiece, ...]:
        """The pieces of a text; what has no words counts for the first."""
        first, *others = (self._piece(segment) for segment in of_text)
        return replace(first, unread=merged([without_words, first.unread])), *others

    def _piece(self, segment: Segment) -> TextPiece:
        reading = read_text(segment.text, self._tokenizer, self._config, self._language)
        return TextPiece(
            segment.text,
            mx.array(reading.ids, dtype=mx.int32),
            reading.text,
            reading.unread,
            segment.pause_before,
            segment.pause_after,
        )


def _warn(writing: Writing, tokenizer, texts: Sequence[str], tags: Sequence[str]) -> None:
    """Warn of parts of texts that are not spoken, or not as they are written."""
    notes = writing.notes()
    if tags:
        words = f"not read, because the model does not know it: {quoted_list(tags)}."
        notes.append(UnreadWarning(words))
    if not writing.normalizes:
        digits = unwritten(map(without_pauses, texts), tokenizer)
        if digits:
            notes.append(UnreadWarning(f"{digits} (normalize=True writes them out)."))
    for note in notes:
        warn_user(note)
