"""How the texts of a job are written before they are spoken: as it was begun, or as asked for."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path

from ..models.config import TextConfig
from ..text.pauses import without_pauses
from ..text.respelling import Lexicon
from ..text.unwritten import unknown, unwritten
from ..text.writing import Writing, writing_for
from .job import Job, job_folder, writing_before


def text_config(tts) -> TextConfig:
    """What a model says of texts."""
    return getattr(tts.checkpoint.config, "text", None) or TextConfig()


def job_writing(
    job: Job, tts, language: str | None, lexicon: Lexicon, normalize: bool | None
) -> Writing:
    """How texts of an open job are written, which is remembered.

    Args:
        normalize: None: as the job was begun, else as the checkpoint says.
    """
    config = text_config(tts)
    return writing_for(config, language, job.choose_writing(normalize, config.normalize), lexicon)


def planned_writing(
    folder: Path | None,
    config: TextConfig,
    language: str | None,
    lexicon: Lexicon,
    normalize: bool | None,
) -> Writing:
    """The same before the job in `folder` is opened, for cutting its document."""
    if normalize is None and folder is not None:
        normalize = writing_before(folder)
    return writing_for(config, language, normalize, lexicon)


def tell_unread(checkpoint, arguments, texts: Iterable[str]) -> None:
    """Warn of what a model will not read, of texts as they stand or as they are written out.

    When it speaks, letters that it does not know are told at the end, with their pieces; with
    `--show-text` they are told here.

    Args:
        checkpoint: with `config` and `tokenizer`.
    """
    config = getattr(checkpoint.config, "text", None) or TextConfig()
    tokenizer, language = getattr(checkpoint, "tokenizer", None), arguments.language
    # The seconds of a pause are not read.
    normalize, texts = arguments.normalize, list(map(without_pauses, texts))
    if normalize is None and not arguments.stream and arguments.file is not None:
        normalize = writing_before(job_folder(arguments.output))
    writing = writing_for(config, language, normalize)
    if writing.normalizes and not arguments.show_text:
        return
    lines = []
    if writing.normalizes:
        texts = [writing(text) for text in texts]
    else:
        lines.append(unwritten(texts, tokenizer))
    if arguments.show_text:
        lines.append(unknown(texts, tokenizer, language))
    if any(lines):
        is_hint = not writing.normalizes and not writing.unknown_language
        hint = " (--normalize writes numbers and signs out)" if is_hint else ""
        warnings.warn(f"{'; '.join(filter(None, lines))}{hint}.", stacklevel=2)


def tell(writing: Writing, is_shown: bool = False) -> None:
    """Warn of what is not spoken, once.

    Args:
        is_shown: nothing is spoken, so that no outcome of a piece tells it later.
    """
    for note in writing.notes():
        warnings.warn(UserWarning(str(note)) if is_shown else note, stacklevel=3)
