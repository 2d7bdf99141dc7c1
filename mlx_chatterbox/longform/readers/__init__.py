"""Documents to speak: plain text, Markdown, EPUB and subtitles, each by its own reader."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ...errors import TextError
from ...runtime.own_files import MISSING, problem_of
from ..plan import LONGEST, Document

# Endings of files that have times.
SUBTITLES = (".srt", ".vtt")
PLAIN = ("", ".txt", ".text")
MARKDOWN = (".md", ".markdown", ".mdown", ".mkd")
ENDINGS = (*PLAIN[1:], *MARKDOWN, ".epub", *SUBTITLES)


def is_timed(path: Path) -> bool:
    """Tell whether a file is subtitles, by its ending."""
    return path.suffix.lower() in SUBTITLES


def read_document(
    path: str | Path,
    language: str | None = "en",
    longest: int = LONGEST["english"],
    sdh: bool = True,
) -> Document:
    """Read a file, whose ending sets its format, and cut it into pieces to speak.

    Args:
        path: `.txt` (or no ending), `.md`, `.epub`, `.srt` or `.vtt`; texts in UTF-8, or in UTF-16
            with a byte order mark.
        language: of the text, a code; None cuts as English.
        longest: most Latin letters of a piece; see `plan.LONGEST`.
        sdh: for subtitles, also speak the sounds and the speakers' names that they have for the
            deaf.

    Raises:
        TextError: there is no such file, nothing to speak in it, or its content does not fit its
            ending; one line that names the place.
    """
    path = Path(path)
    if path.is_dir():
        raise TextError(f"{path} is a folder: name one file.")
    if problem := problem_of(path):
        missing = problem == MISSING
        raise TextError(f"there is no file {path}." if missing else f"{path} {problem}.")
    options = {"sdh": sdh} if is_timed(path) else {}
    document = _reader_of(path)(path, language, longest, **options)
    if not any(piece.text for piece in document.pieces):
        raise TextError(f"{path}: there is nothing to speak in it.")
    return document


def _reader_of(path: Path) -> Callable[..., Document]:
    # Imported here, since few need Markdown's parser.
    ending = path.suffix.lower()
    if ending in MARKDOWN:
        from .markdown import read_markdown

        return read_markdown
    if ending == ".epub":
        from .epub import read_epub

        return read_epub
    if ending in SUBTITLES:
        from .srt import read_srt

        return read_srt
    if ending in PLAIN:
        from .plain import read_plain

        return read_plain
    raise TextError(
        f"{path}: {ending} files cannot be read; save it as one of {', '.join(ENDINGS)}."
    )
