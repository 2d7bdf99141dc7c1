"""How the texts of a job are written before they are spoken: as it was begun, or as asked for."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path

from ..config import TextConfig
from ..text.respelling import Lexicon
from ..text.sentence_rules import base_language
from ..text.unread import unread
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
    """Warn of what a model will not read: of texts as they stand, or as they are written out.

    Args:
        checkpoint: with `config` and `tokenizer`.
    """
    config = checkpoint.config.text
    normalize = arguments.normalize
    if normalize is None and not arguments.stream and arguments.file is not None:
        normalize = writing_before(job_folder(arguments.output))
    language = arguments.language
    writing = writing_for(config, language, normalize)
    if writing.normalizes:
        # What English does not say in words, the model tells when it speaks.
        if base_language(language) in (None, "en") and not arguments.show_text:
            return
        texts = map(writing, texts)
    line = unread(texts, checkpoint.tokenizer, language)
    if line:
        is_hint = not writing.normalizes and not writing.unknown_language
        hint = " (--normalize writes numbers and signs out)" if is_hint else ""
        warnings.warn(f"{line}{hint}.", stacklevel=2)


def tell(writing: Writing) -> None:
    """Warn of what is not spoken, once."""
    for note in writing.notes():
        warnings.warn(note, stacklevel=3)
