"""Plain text, and how the bytes of every text file become characters."""

from __future__ import annotations

import codecs
import re
from dataclasses import replace
from pathlib import Path

from ...errors import TextError
from ...runtime.own_files import open_input
from ..plan import Document
from ..split import document_of_text
from .encodings import guess

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
    text, guessed = characters_of(path, language)
    title = author = None
    if (begin := _BEGIN.search(text)) and (end := _END.search(text, begin.end())):
        fields = dict(_FIELD.findall(text[: begin.start()]))
        title, author = fields.get("Title"), fields.get("Author")
        text = text[begin.end() : end.start()]
    document = document_of_text(_ITALICS.sub(r"\1", text), language, longest)
    remarks = (*guessed, *document.remarks)
    return replace(document, title=title, author=author, remarks=remarks)


def characters_of(
    path: Path, language: str | None = None, zeros: bool = False
) -> tuple[str, list[str]]:
    r"""A text file's characters, its line ends as "\n", and a remark where its encoding, which no
    text file declares, had to be guessed.

    Args:
        language: of the text, a code: before UTF-8 each had an encoding of its own.
        zeros: whether it may have zero characters, in UTF-8.

    Raises:
        TextError: it cannot be read, is too large, or is no text in UTF-8 (with or without byte
            order mark), in UTF-16 with one, or in an encoding that can be guessed.
    """
    content = _content(path)
    try:
        return decoded(content, str(path)), []
    except TextError:
        found = None if content.startswith(_UTF16) else guess(content, language)
        if found is None or "\0" in found[0]:
            if zeros:
                return decoded(content, str(path), zeros), []
            raise
    text, encoding = found
    remark = f"it is not in UTF-8, and was read as {encoding}: if words are wrong, save it as UTF-8"
    return _with_line_ends(text), [remark]


def _content(path: Path) -> bytes:
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
    return content


def decoded(content: bytes, name: str, zeros: bool = False) -> str:
    r"""Bytes of a text, called `name` in messages, to characters, its line ends as "\n".

    Raises:
        TextError: it is no text in UTF-8, nor in UTF-16 with a byte order mark.
    """
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
    return _with_line_ends(text)


def _with_line_ends(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")
