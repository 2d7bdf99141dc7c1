"""The files of a book's archive, read within limits and resolved from addresses in other files.

Nothing is unpacked to disk, and every address resolves to a name in the archive.
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

# Limits of one file, and of everything that is read of a book; a novel has one megabyte.
MOST_BYTES, MOST_BYTES_IN_ALL = 16 << 20, 32 << 20
# The limit of a small archive: this multiple of its size, and at least so many bytes. Texts are
# compressed to a third, markup at most to a thirtieth.
MOST_TIMES, LEAST_BYTES_IN_ALL = 50, 64 << 10
# Limits of tags in everything that is read, and of files in the archive.
MOST_TAGS, MOST_FILES = 1_000_000, 50_000
# The compression methods of EPUB; others can take gigabytes to unpack a byte.
_PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENTITY = re.compile(r"&([A-Za-z][A-Za-z0-9]{1,31});")
_OF_XML = frozenset(("amp", "lt", "gt", "quot", "apos"))
_DECLARATION = re.compile(r"^\s*<\?xml[^>]{0,400}\?>\s*")


class Archive:
    """A book's files.

    Attributes:
        names: names of all files.
        decoder: decodes their bytes.
    """

    def __init__(self, path: Path, archive: zipfile.ZipFile):
        self._path, self._archive = path, archive
        self._size = path.stat().st_size
        self._most = min(MOST_BYTES_IN_ALL, LEAST_BYTES_IN_ALL + MOST_TIMES * self._size)
        self._left, self._tags = self._most, MOST_TAGS
        if len(archive.infolist()) > MOST_FILES:
            raise TextError(f"{path} has more than {MOST_FILES} files: too many for a book.")
        self.names = frozenset(archive.namelist())
        self._folded = {_folded(name): name for name in sorted(self.names, reverse=True)}
        self._sheets: dict[str, str | None] = {}
        self.decoder = TextDecoder()

    def __contains__(self, name: str) -> bool:
        return self._stored(name) is not None

    def _stored(self, name: str) -> str | None:
        """A file's name as it is in the archive, perhaps with backslashes or other accents."""
        return name if name in self.names else self._folded.get(_folded(name))

    def packages(self) -> list[str]:
        """List the files that may be the book's package, without those that macOS adds."""
        return [
            name
            for name in sorted(self.names)
            if name.lower().endswith(".opf") and not name.startswith("__MACOSX")
        ]

    @staticmethod
    def unquoted(address: str) -> str:
        return unquote(address)

    def resolved(self, name: str, address: str) -> str:
        """The name of the file that an address in another file leads to.

        Some archives have names with `%20` in them, and others mix capitals; the address itself is
        returned if no name fits.
        """
        folder = posixpath.dirname(name.replace("\\", "/"))
        address = address.partition("#")[0].replace("\\", "/")
        # An address that begins with "/" starts at the archive's root.
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
        """Read a file's bytes.

        Raises:
            TextError: it is missing, or exceeds a limit.
        """
        stored = self._stored(name)
        if stored is None:
            raise TextError(f"{self._path} is not a complete EPUB: {name} is missing.")
        if self._archive.getinfo(stored).compress_type not in _PACKED:
            raise TextError(
                f"{self._path}: {name} is compressed in a way that EPUB does not allow."
            )
        most = min(MOST_BYTES, self._left)
        with self._archive.open(stored) as file:
            content = file.read(most + 1)
        if len(content) > most:
            if most < MOST_BYTES and self._most < MOST_BYTES_IN_ALL:
                raise TextError(
                    f"{self._path}: at {name}, it unpacks to more than {MOST_TIMES} times its "
                    f"{self._size} bytes: too much for a book."
                )
            raise TextError(f"{self._path}: {name} is too large for a chapter of a book.")
        self._left -= len(content)
        return content

    def text(self, name: str) -> str:
        """Read and decode a file.

        Raises:
            TextError: as `bytes`; also if no encoding fits, or there are more tags than in a book,
                which is checked before they are parsed.
        """
        text = self.decoder.decode(self.bytes(name), name, f"{self._path}: {name}")
        self._tags -= text.count("<")
        if self._tags < 0:
            raise TextError(
                f"{self._path}: at {name}, it has more than {MOST_TAGS} tags: too many for a book."
            )
        return text

    def sheet(self, name: str, address: str) -> tuple[str, str] | None:
        """Read a style sheet; returns its name and content, None if it is missing or unreadable."""
        target = self.resolved(name, address)
        if target not in self._sheets:
            try:
                self._sheets[target] = self.text(target)
            except TextError:
                self._sheets[target] = None
        content = self._sheets[target]
        return None if content is None else (target, content)

    def xml(self, name: str) -> ElementTree.Element:
        """Read a file as XML without namespaces; raises as `text` and `parsed`."""
        return parsed(self.text(name), f"{self._path}: {name}")


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name.replace("\\", "/")).casefold()


def parsed(text: str, name: str) -> ElementTree.Element:
    """Parse XML and drop its namespaces; own entities are refused, external ones never fetched.

    Raises:
        TextError: it is not well formed, or declares an entity.
    """
    builder = ElementTree.TreeBuilder()
    parser = expat.ParserCreate(encoding="utf-8", namespace_separator="}")

    def refused(*_) -> None:
        raise TextError(f"{name} declares XML entities, which a book does not need.")

    def local(tag: str) -> str:
        return tag.rsplit("}", 1)[-1]

    parser.EntityDeclHandler = refused
    parser.StartElementHandler = lambda tag, attributes: builder.start(
        local(tag), {local(key): value for key, value in attributes.items()}
    )
    parser.EndElementHandler = lambda tag: builder.end(local(tag))
    parser.CharacterDataHandler = builder.data
    text = _ENTITY.sub(_html_entity, _DECLARATION.sub("", text, count=1))
    try:
        parser.Parse(text.encode(), True)
    except (expat.ExpatError, ValueError) as error:
        raise TextError(f"{name} is not well-formed XML: {error}.") from None
    return builder.close()


def _html_entity(match: re.Match) -> str:
    """Replace an entity that HTML has and XML has not by its character."""
    if match.group(1) in _OF_XML:
        return match.group()
    character = html.unescape(match.group())
    return match.group() if character == match.group() else html.escape(character)
