"""Plain text, and how the bytes of every text file become characters."""

from __future__ import annotations

import codecs
import re
from dataclasses import replace
from pathlib import Path

from ...errors import TextError
from ...own_files import open_input
from ..plan import Document
from ..split import document_of_text

# A book is about a megabyte; the whole of an encyclopaedia is no mistake to spend a week on.
MOST_BYTES = 64 << 20
_BEGIN = re.compile(r"^\*\*\* ?START OF (?:THE|THIS) PROJECT GUTENBERG.*$", re.MULTILINE)
_END = re.compile(r"^\*\*\* ?END OF (?:THE|THIS) PROJECT GUTENBERG", re.MULTILINE)
_FIELD = re.compile(r"^(Title|Author): (.*\S)", re.MULTILINE)
_ITALICS = re.compile(r"(?<!\w)_+([^_\s](?:[^_\n]|\n(?!\s*\n))*?)_+(?![^\W_])")
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_plain(path: Path, language: str | None, longest: int) -> Document:
    """See `read_document`. What Project Gutenberg puts around its books is left out, and the
    underscores that it writes for italics."""
    text = read_characters(path)
    title = author = None
    if (begin := _BEGIN.search(text)) and (end := _END.search(text, begin.end())):
        fields = dict(_FIELD.findall(text[: begin.start()]))
        title, author = fields.get("Title"), fields.get("Author")
        text = text[begin.end() : end.start()]
    document = document_of_text(_ITALICS.sub(r"\1", text), language, longest)
    return replace(document, title=title, author=author)


def read_characters(path: Path, zeros: bool = False) -> str:
    r"""A text file's characters, its line ends as "\n".

    Args:
        zeros: whether it may have zero characters.

    Raises:
        TextError: it cannot be read, is too large, or is no text in UTF-8 (with or without byte
            order mark) or in UTF-16 with one.
    """
    try:
        size = path.stat().st_size
        if size <= MOST_BYTES:
            with open_input(path) as file:
                content = file.read(MOST_BYTES + 1)
            size = len(content)  # a pipe says nothing of its own
    except OSError as error:
        raise TextError(f"{path} cannot be read: {error.strerror}.") from None
    if size > MOST_BYTES:
        raise TextError(f"{path} has {size >> 20} MB: over {MOST_BYTES >> 20} is no text.")
    return decoded(content, str(path), zeros)


def decoded(content: bytes, name: str, zeros: bool = False) -> str:
    """Bytes of a text, called `name` in messages, to characters; else as `read_characters`."""
    wide = content.startswith(_UTF16)
    try:
        text = content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        if wide:
            raise TextError(f"{name} is no whole UTF-16 text: save it as UTF-8.") from None
        line, byte = content.count(b"\n", 0, error.start) + 1, content[error.start]
        raise TextError(
            f"{name}: line {line} is no UTF-8 text (byte 0x{byte:02x}): save it as UTF-8."
        ) from None
    if "\0" in text and not zeros:
        raise TextError(f"{name} is no text: it has zero bytes.")
    return text.replace("\r\n", "\n").replace("\r", "\n")
