"""Decodes text files: as UTF-8, by a byte order mark, or in the encoding that the user names."""

from __future__ import annotations

import codecs
from pathlib import Path

from ...errors import DataError
from ...runtime.own_files import open_regular

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def encoding_of(content: bytes) -> str:
    """Return the encoding of a byte order mark; UTF-8 without one."""
    return next((name for mark, name in _MARKS if content.startswith(mark)), "utf-8")


def decode(content: bytes, path: Path | str, encoding: str | None = None) -> str:
    """Decode text, with line feeds for all line ends.

    Args:
        path: for messages.
        encoding: as the user names it; None: the byte order mark's, else UTF-8, in which invalid
            bytes become surrogates, so that only their clips are left out.

    Raises:
        DataError: an unknown encoding, or bytes that are invalid in the named one.
    """
    chosen = encoding or encoding_of(content)
    strict = chosen not in ("utf-8", "utf-8-sig") or encoding is not None
    try:
        text = content.decode(chosen, errors="strict" if strict else "surrogateescape")
    except LookupError:
        raise DataError(
            f"dataset.encoding {encoding!r} is unknown; common are utf-8, windows-1252, utf-16."
        ) from None
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DataError(
            f"{path}:{line}: this is not {chosen}: {error.reason}; save it as UTF-8, or set "
            "dataset.encoding to its encoding."
        ) from None
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    return text if "\n" in text else text.replace("\r", "\n")


def read_text(path: Path, encoding: str | None = None) -> str:
    """Read a text file; see `decode` and `read_content`."""
    return decode(read_content(path), path, encoding)


def read_content(path: Path) -> bytes:
    """Read the bytes of a list of clips.

    Raises:
        DataError: it cannot be read, or is no regular file (a pipe or a device may have no end).
    """
    try:
        with open_regular(path) as file:
            return file.read()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from None


def advice(text: str) -> str:
    """Advise on a text that was not decoded (it has surrogates, U+FFFD or zeros)."""
    if "\0" in text:
        return "it looks like UTF-16: set dataset.encoding to utf-16-le, or save it as UTF-8"
    try:
        windows = text.encode("utf-8", "surrogateescape").decode("windows-1252")
    except UnicodeError:
        return "save it as UTF-8"
    if "\ufffd" in text:
        return "letters were lost when it was saved (U+FFFD is in their place): write them again"
    return (
        f"in windows-1252 it is {' '.join(windows.split())[:40]!r}: set dataset.encoding to "
        "windows-1252 if that is right, or save it as UTF-8"
    )
