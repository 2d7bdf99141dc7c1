"""The writing of a job's texts before they are spoken: as it was started, or as asked for."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path

from ..errors import SettingError
from ..models.config import CHATTTS_TYPE, TextConfig
from ..text.pauses import without_pauses
from ..text.respelling import Lexicon
from ..text.unwritten import unknown, unwritten
from ..text.writing import Normalize, Writing, writing_for
from .job import Job, job_folder, writing_before


def text_config(tts) -> TextConfig:
    """The configuration of a model's texts."""
    return getattr(tts.checkpoint.config, "text", None) or TextConfig()


def job_writing(
    job: Job, tts, language: str | None, lexicon: Lexicon, normalize: Normalize
) -> Writing:
    """Make the writing of an open job's texts, and record the choice in the job.

    Args:
        normalize: None: as the job was started, else as the checkpoint sets it.

    Raises:
        SettingError: upstream's cleaner, which is for comparing single texts.
    """
    if isinstance(normalize, str):
        raise SettingError(f"a job has no normalize={normalize!r}: take True, False or None.")
    config = text_config(tts)
    return writing_for(config, language, job.choose_writing(normalize, config.normalize), lexicon)


def planned_writing(
    folder: Path | None,
    config: TextConfig,
    language: str | None,
    lexicon: Lexicon,
    normalize: bool | None,
) -> Writing:
    """Make the same writing before the job in `folder` is opened, to cut its document."""
    if normalize is None and folder is not None:
        normalize = writing_before(folder)
    return writing_for(config, language, normalize, lexicon)


def warn_unread(checkpoint, arguments, texts: Iterable[str]) -> None:
    """Warn of numbers, signs and letters in texts that a model will not read.

    When the texts are spoken, letters that the model does not know are reported at the end, with
    their pieces; with `--show-text` they are reported here.

    Args:
        checkpoint: has `config` and `tokenizer`.
    """
    if getattr(checkpoint.config, "variant", "") == CHATTTS_TYPE:
        return  # it writes all texts out itself, and reports what it leaves out of them
    config = getattr(checkpoint.config, "text", None) or TextConfig()
    tokenizer, language = getattr(checkpoint, "tokenizer", None), arguments.language
    # Without the numbers of pauses, which are not read.
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


def warn_unspoken(writing: Writing, is_shown: bool = False) -> None:
    """Warn once of what is not spoken.

    Args:
        is_shown: the text is only shown, so that no outcome of a piece reports it later.
    """
    for note in writing.notes():
        warnings.warn(UserWarning(str(note)) if is_shown else note, stacklevel=3)
