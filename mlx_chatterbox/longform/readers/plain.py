"""Plain text, and the decoding of text files."""

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

# A book has about a megabyte; a larger file would take weeks to speak, and is likely a mistake.
MOST_BYTES = 64 << 20
_BEGIN = re.compile(r"^\*\*\* ?START OF (?:THE|THIS) PROJECT GUTENBERG.*$", re.MULTILINE)
_END = re.compile(r"^\*\*\* ?END OF (?:THE|THIS) PROJECT GUTENBERG", re.MULTILINE)
_FIELD = re.compile(r"^(Title|Author): (.*\S)", re.MULTILINE)
_ITALICS = re.compile(r"(?<!\w)_+([^_\s](?:[^_\n]|\n(?!\s*\n))*?)_+(?![^\W_])")
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_plain(path: Path, language: str | None, longest: int) -> Document:
    """Read plain text; see `read_document`.

    The parts that Project Gutenberg adds before and after its books are left out, and the
    underscores that it writes for italics.
    """
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
    r"""Read and decode a text file; its line ends become "\n".

    Args:
        language: of the text, a code, to guess the encoding of a file that is not UTF-8.
        zeros: whether it may have zero characters, in UTF-8.

    Returns:
        The text, and a remark, in a list, if its encoding had to be guessed.

    Raises:
        TextError: it cannot be read, is too large, or is neither UTF-8 (with or without byte order
            mark) nor UTF-16 with one, and no other encoding fits.
    """
    content = _content(path)
    try:
        return decoded(content, str(path)), []
    except TextError:
        guessed = None if content.startswith(_UTF16) else guess(content, language)
        if guessed is None or "\0" in guessed[0]:
            if zeros:
                return decoded(content, str(path), zeros), []
            raise
    text, encoding = guessed
    remark = f"it is not in UTF-8, and was read as {encoding}: if words are wrong, save it as UTF-8"
    return _with_line_ends(text), [remark]


def _content(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size <= MOST_BYTES:
            with open_input(path) as file:
                content = file.read(MOST_BYTES + 1)
            size = len(content)  # a pipe has no size
    except OSError as error:
        raise TextError(f"{path} cannot be read: {error.strerror}.") from None
    if size > MOST_BYTES:
        raise TextError(f"{path} has {size >> 20} MB: the limit of a text is {MOST_BYTES >> 20}.")
    return content


def decoded(content: bytes, name: str, zeros: bool = False) -> str:
    r"""Decode a text, named `name` in messages; its line ends become "\n".

    Raises:
        TextError: it is neither UTF-8 nor UTF-16 with a byte order mark.
    """
    wide = content.startswith(_UTF16)
    try:
        text = content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        if wide:
            raise TextError(f"{name} is not complete UTF-16: save it as UTF-8.") from None
        line, byte = content.count(b"\n", 0, error.start) + 1, content[error.start]
        raise TextError(
            f"{name}: line {line} is not UTF-8 (byte 0x{byte:02x}): save it as UTF-8."
        ) from None
    if "\0" in text and not zeros:
        raise TextError(f"{name} is not a text file: it has zero bytes.")
    return _with_line_ends(text)


def _with_line_ends(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")
