"""`--show-text`: print the pieces that would be spoken; no weights are loaded."""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import ChatterboxError, SettingError
from ..harmless import one_line
from ..longform.batch import FOLDER_NAME
from ..longform.job import job_folder
from ..longform.outputs import is_spoken
from ..longform.plan import LONGEST, Document, longest_of
from ..longform.rows import BatchRow, read_rows
from ..longform.wording import planned_writing, warn_unread, warn_unspoken
from ..models.config import CHATTTS_TYPE, ModelConfig
from ..text.load import Tokenizer
from ..text.pauses import segments
from ..text.reading import without_unknown_tags
from ..text.unread import quoted_list
from ..text.writing import Writing, writing_for
from .chattts import show_pieces
from .long_text import document_of, is_job, read_chosen


@dataclass
class TextModel:
    """The configuration and tokenizer of a model, without its weights.

    Attributes:
        checkpoint: the object itself, so that it stands in for a loaded model.
        tokenizer: None if it is not on this machine.
    """

    config: ModelConfig
    tokenizer: Tokenizer | None

    @property
    def checkpoint(self) -> TextModel:
        return self


def show_text(arguments: argparse.Namespace, text: str, is_chattts: bool = False) -> int:
    """Print what would be spoken, one piece a line; of ChatTTS before it is refined.

    Returns:
        The exit code, 1 if a row of a batch failed.

    Raises:
        ChatterboxError: an error of the text, as speaking would raise it.
    """
    if is_chattts:
        return _show_chattts(arguments, text)
    from ..weights.checkpoint import read_text_model

    model = TextModel(*read_text_model(arguments.model))
    _check_language(arguments, model.config, model.tokenizer)
    if arguments.batch is not None:
        return _show_batch(arguments, model)
    if arguments.file is None:
        writing = writing_for(
            model.config.text, arguments.language, arguments.normalize, arguments.lexicon
        )
        warn_unread(model, arguments, [text])
        _print_lines(_segment_lines(text, model, arguments.language, writing))
        warn_unspoken(writing, True)
        return 0
    document = document_of(arguments, model)
    warn_unread(model, arguments, (piece.text for piece in document.pieces))
    as_job = not arguments.stream and is_job(arguments, document)
    writing = planned_writing(
        job_folder(arguments.output) if as_job else None,
        model.config.text,
        arguments.language,
        arguments.lexicon,
        arguments.normalize,
    )
    _print_lines(_piece_lines(document, model, arguments.language, writing))
    warn_unspoken(writing, True)
    return 0


def _show_chattts(arguments: argparse.Namespace, text: str) -> int:
    if arguments.batch is not None:
        return show_pieces(arguments, list(batch_texts(arguments)))
    if arguments.file is None:
        return show_pieces(arguments, [text])
    document = read_chosen(arguments, LONGEST[CHATTTS_TYPE])
    return show_pieces(arguments, [piece.text for piece in filter(is_spoken, document.pieces)])


def _check_language(
    arguments: argparse.Namespace, config: ModelConfig, tokenizer: Tokenizer | None
) -> None:
    """Raise SettingError for `--language`, as speaking would."""
    language = arguments.language
    if config.text.tokenizer != "multilingual":
        if language and language.lower() != "en":
            raise SettingError(f"{config.variant} has no language_id: leave it out.")
        return
    languages = getattr(tokenizer, "languages", ())
    if language is None and arguments.batch is None:
        codes = f", one of {', '.join(languages)}" if languages else ""
        raise SettingError(f"--language is required: the language of the text{codes}.")
    if language and languages and language.lower() not in languages:
        raise SettingError(f"unknown language {language!r}; known are {', '.join(languages)}.")


def _piece_lines(
    document: Document, model: TextModel, language: str | None, writing: Writing
) -> Iterator[str]:
    for piece in filter(is_spoken, document.pieces):
        yield from _segment_lines(piece.text, model, language, writing)


def _segment_lines(
    text: str, model: TextModel, language: str | None, writing: Writing
) -> Iterator[str]:
    """Yield the parts of a text that the model speaks in one call.

    Tags that the model does not know are left out, with a warning.
    """
    config, tokenizer = model.config, model.tokenizer
    unknown: dict[str, None] = {}
    for segment in segments(writing(text), config.generation.longest_piece, language):
        shown = segment.text
        tags: list[str] = []
        if tokenizer is not None:
            shown, tags = without_unknown_tags(shown, tokenizer, config.text.tokenizer)
        unknown.update(dict.fromkeys(tags))
        if shown.strip() and not (tags and not any(map(str.isalnum, shown))):
            yield shown
    if unknown:
        warnings.warn(
            f"left out, since the model has no such tag: {quoted_list([*unknown])}.", stacklevel=2
        )


def _print_lines(lines: Iterator[str]) -> None:
    for line in lines:
        print(" ".join(line.split()))


def _show_batch(arguments: argparse.Namespace, model: TextModel) -> int:
    warn_unread(model, arguments, batch_texts(arguments))
    failed = 0
    job = arguments.output_dir and arguments.output_dir / FOLDER_NAME
    for row in _batch_rows(arguments):
        writing = planned_writing(
            job, model.config.text, row.language, arguments.lexicon, arguments.normalize
        )
        try:
            if row.problem:
                raise SettingError(row.problem)
            _check_row(row, model)
            document = row.document(writing.room(longest_of(model.config)), not arguments.no_sdh)
            _print_lines(_piece_lines(document, model, row.language, writing))
        except ChatterboxError as error:
            failed += 1
            message = one_line(f"row {row.number} ({row.output}): {error}")
            print(message, file=sys.stderr)
        warn_unspoken(writing, True)
    return 1 if failed else 0


def _check_row(row: BatchRow, model: TextModel) -> None:
    """Raise SettingError for a language that the model does not speak, as speaking would."""
    language = (row.language or "").lower()
    if model.config.text.tokenizer != "multilingual":
        if language not in ("", "en"):
            raise SettingError(f"{model.config.variant} speaks only English, not {row.language!r}.")
        return
    languages = getattr(model.tokenizer, "languages", ())
    if languages and language not in languages:
        wrong = f"unknown language {row.language!r}" if language else "the language is missing"
        raise SettingError(f"{wrong}; known are {', '.join(languages)}.")


def _batch_rows(arguments: argparse.Namespace) -> list[BatchRow]:
    ending = arguments.output_format.lstrip(".")
    output_dir = arguments.output_dir
    with tempfile.TemporaryDirectory() as nowhere:
        # Rows are checked against the folder of outputs; if there is none yet, none is made.
        folder = output_dir if output_dir is not None and output_dir.is_dir() else Path(nowhere)
        return read_rows(arguments.batch, folder, arguments.voice, arguments.language, ending)


def batch_texts(arguments: argparse.Namespace) -> Iterator[str]:
    """Yield the texts of a batch's rows that can be read."""
    for row in _batch_rows(arguments):
        if row.problem:
            continue
        if not isinstance(row.text, Path):
            yield row.text
            continue
        try:
            yield from (piece.text for piece in row.document(1 << 20, not arguments.no_sdh).pieces)
        except ChatterboxError:
            continue  # reported when the row is planned
