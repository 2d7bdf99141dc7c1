"""The files of a book's archive: read within limits, found by the addresses that other files have.

Nothing is unpacked, and no address leads to anything but a name in the archive.
"""

from __future__ import annotations

import html
import posixpath
import re
import unicodedata
import zipfile
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree
from xml.parsers import expat

from ...errors import TextError
from .encodings import TextDecoder

# Of one file, and of all that is read of a book; a novel has one megabyte.
MOST_BYTES, MOST_BYTES_IN_ALL = 16 << 20, 32 << 20
# And so many times what the archive has, where that is more than a few kilobytes: texts are packed
# to a third, the worst of markup to a thirtieth.
MOST_TIMES, LEAST_BYTES_IN_ALL = 50, 64 << 10
# Of tags in all that is read, and of files in the archive.
MOST_TAGS, MOST_FILES = 1_000_000, 50_000
# What an EPUB may be packed with; others take gigabytes to unpack a byte.
_PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENTITY = re.compile(r"&([A-Za-z][A-Za-z0-9]{1,31});")
_OF_XML = frozenset(("amp", "lt", "gt", "quot", "apos"))
_DECLARATION = re.compile(r"^\s*<\?xml[^>]{0,400}\?>\s*")


class Archive:
    """A book's files.

    Attributes:
        names: of all.
        decoder: what makes characters of their bytes.
    """

    def __init__(self, path: Path, archive: zipfile.ZipFile):
        self._path, self._archive = path, archive
        self._size = path.stat().st_size
        self._most = min(MOST_BYTES_IN_ALL, LEAST_BYTES_IN_ALL + MOST_TIMES * self._size)
        self._left, self._tags = self._most, MOST_TAGS
        if len(archive.infolist()) > MOST_FILES:
            raise TextError(f"{path} has more than {MOST_FILES} files in it: it is no book.")
        self.names = frozenset(archive.namelist())
        self._folded = {_folded(name): name for name in sorted(self.names, reverse=True)}
        self._sheets: dict[str, str | None] = {}
        self.decoder = TextDecoder()

    def __contains__(self, name: str) -> bool:
        return self._stored(name) is not None

    def _stored(self, name: str) -> str | None:
        """A file's name as the archive has it: perhaps with backslashes, or other accents."""
        return name if name in self.names else self._folded.get(_folded(name))

    def packages(self) -> list[str]:
        """Files that may list a book's files, but for those that macOS adds."""
        return [
            name
            for name in sorted(self.names)
            if name.lower().endswith(".opf") and not name.startswith("__MACOSX")
        ]

    @staticmethod
    def unquoted(address: str) -> str:
        return unquote(address)

    def resolved(self, name: str, address: str) -> str:
        """The name of a file to which an address in another one leads; as it is written if there
        is none, since some archives write `%20`, and others mix capitals."""
        folder = posixpath.dirname(name.replace("\\", "/"))
        address = address.partition("#")[0].replace("\\", "/")
        # From "/" on is from the archive's root on.
        plain, quoted = (
            posixpath.normpath(posixpath.join(folder, each)).lstrip("/")
            for each in (unquote(address), address)
        )
        if plain in self.names:
            return plain
        if quoted in self.names:
            return quoted
        return self._stored(plain) or self._stored(quoted) or plain

    def bytes(self, name: str) -> bytes:
        """A file's content.

        Raises:
            TextError: it is missing, or larger than what is read of a book.
        """
        stored = self._stored(name)
        if stored is None:
            raise TextError(f"{self._path} is no whole EPUB: {name} is missing.")
        if self._archive.getinfo(stored).compress_type not in _PACKED:
            raise TextError(f"{self._path}: {name} is packed in a way that no EPUB is.")
        most = min(MOST_BYTES, self._left)
        with self._archive.open(stored) as file:
            content = file.read(most + 1)
        if len(content) > most:
            if most < MOST_BYTES and self._most < MOST_BYTES_IN_ALL:
                raise TextError(
                    f"{self._path}: at {name}, it unpacks to more than {MOST_TIMES} times the "
                    f"{self._size} bytes that it has: it is no book."
                )
            raise TextError(f"{self._path}: {name} is too large for a chapter of a book.")
        self._left -= len(content)
        return content

    def text(self, name: str) -> str:
        """A file's characters; errors as `bytes`, and TextError where no encoding fits, or there
        are more tags than in a book: that is seen before anything is made of them."""
        text = self.decoder.decode(self.bytes(name), name, f"{self._path}: {name}")
        self._tags -= text.count("<")
        if self._tags < 0:
            raise TextError(f"{self._path}: at {name}, it has more than {MOST_TAGS} tags: no book.")
        return text

    def sheet(self, name: str, address: str) -> tuple[str, str] | None:
        """Name and content of a style sheet; None if there is none in the archive, or it cannot be
        read: it is of no use then."""
        found = self.resolved(name, address)
        if found not in self._sheets:
            try:
                self._sheets[found] = self.text(found)
            except TextError:
                self._sheets[found] = None
        content = self._sheets[found]
        return None if content is None else (found, content)

    def xml(self, name: str) -> ElementTree.Element:
        """A file as XML without namespaces; errors as `text`, and of `parsed`."""
        return parsed(self.text(name), f"{self._path}: {name}")


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name.replace("\\", "/")).casefold()


def parsed(text: str, name: str) -> ElementTree.Element:
    """XML without namespaces; entities of its own are refused, others are never fetched.

    Raises:
        TextError: it is not well formed, or declares an entity.
    """
    builder = ElementTree.TreeBuilder()
    parser = expat.ParserCreate(encoding="utf-8", namespace_separator="}")

    def refused(*_) -> None:
        raise TextError(f"{name} declares XML entities, which a book has no use for.")

    def local(tag: str) -> str:
        return tag.rsplit("}", 1)[-1]

    parser.EntityDeclHandler = refused
    parser.StartElementHandler = lambda tag, attributes: builder.start(
        local(tag), {local(key): value for key, value in attributes.items()}
    )
    parser.EndElementHandler = lambda tag: builder.end(local(tag))
    parser.CharacterDataHandler = builder.data
    text = _ENTITY.sub(_of_html, _DECLARATION.sub("", text, count=1))
    try:
        parser.Parse(text.encode(), True)
    except (expat.ExpatError, ValueError) as error:
        raise TextError(f"{name} is no XML: {error}.") from None
    return builder.close()


def _of_html(match: re.Match) -> str:
    """An entity that HTML has and XML has not, as its character."""
    if match.group(1) in _OF_XML:
        return match.group()
    character = html.unescape(match.group())
    return match.group() if character == match.group() else html.escape(character)
