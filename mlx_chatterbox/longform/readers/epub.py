"""EPUB 2 and 3: the chapters in reading order, by the standard library alone.

A book comes from anywhere, so nothing in it is trusted: no file is unpacked, what is read is
limited whatever the archive says of its size, and XML that declares entities is refused.
"""

from __future__ import annotations

import posixpath
import re
import zipfile
import zlib
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree
from xml.parsers import expat

from ...errors import TextError
from ..blocks import Block, plan_blocks
from ..plan import Document
from .plain import decoded
from .xhtml import links, xhtml_blocks

# Of one chapter, and of all that is read of a book.
MOST_BYTES, MOST_BYTES_IN_ALL = 16 << 20, 128 << 20
CONTAINER, ENCRYPTION = "META-INF/container.xml", "META-INF/encryption.xml"
_XHTML = ("application/xhtml+xml", "text/html")
_ENCODING = re.compile(rb"""<\?xml[^>]*encoding=["']((?:iso-8859|windows-125)[-\w]*)["']""", re.I)


def read_epub(path: Path, language: str | None, longest: int) -> Document:
    """See `read_document`. What the table of contents calls a chapter that has no heading becomes
    its chapter's title, unspoken."""
    try:
        with zipfile.ZipFile(path) as archive:
            book = _Book(path, archive)
            blocks = book.blocks()
            return Document(book.title, book.author, plan_blocks(blocks, language, longest))
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise TextError(f"{path} is no EPUB, or a damaged one: {error}.") from None
    except OSError as error:
        raise TextError(f"{path} cannot be read: {error.strerror or error}.") from None


class _Book:
    """An open book.

    Attributes:
        title, author: from its metadata, or None.
    """

    def __init__(self, path: Path, archive: zipfile.ZipFile):
        self._path = path
        self._archive = archive
        self._left = MOST_BYTES_IN_ALL
        self._names = frozenset(archive.namelist())
        rootfile = self._xml(CONTAINER).find(".//rootfile")
        if rootfile is None or not rootfile.get("full-path"):
            raise TextError(f"{path} is no EPUB: {CONTAINER} names no package.")
        package_name = unquote(rootfile.get("full-path"))
        package = self._xml(package_name)
        self._folder = posixpath.dirname(package_name)
        self.title = _texts(package, "title")[:1]
        self.title = self.title[0] if self.title else None
        self.author = ", ".join(_texts(package, "creator")) or None
        self._items = {item.get("id"): item for item in package.findall("./manifest/item")}
        self._spine = package.find("./spine")
        if self._spine is None:
            raise TextError(f"{path} is no EPUB: {package_name} has no spine.")

    def blocks(self) -> list[Block]:
        """Of all chapters in reading order, a break between them where no heading begins one."""
        locked = self._locked()
        titles = self._titles()
        found: list[Block] = []
        for reference in self._spine.findall("./itemref"):
            item = self._items.get(reference.get("idref"))
            if item is None or reference.get("linear") == "no":
                continue
            if item.get("media-type") not in _XHTML or "nav" in item.get("properties", "").split():
                continue
            name = self._resolved(self._folder, item.get("href", ""))
            if name in locked:
                raise TextError(
                    f"{self._path} is encrypted: it can be read by its shop's app only."
                )
            chapter = xhtml_blocks(self._text(name))
            if not any(block.text for block in chapter):
                continue
            if not any(block.kind == "heading" for block in chapter):
                found.append(Block("break"))
                if name in titles:
                    found.append(Block("chapter", titles[name]))
            found.extend(chapter)
        return found

    def _titles(self) -> dict[str, str]:
        """What the table of contents calls each file; the first entry of a file counts."""
        found: dict[str, str] = {}
        for item in self._items.values():
            kind, properties = item.get("media-type"), item.get("properties", "").split()
            name = self._resolved(self._folder, item.get("href", ""))
            if name not in self._names:
                continue
            entries: list[tuple[str, str]] = []
            if "nav" in properties:
                entries = links(self._text(name))
            elif kind == "application/x-dtbncx+xml":
                for point in self._xml(name).iter("navPoint"):
                    content, label = point.find("./content"), point.find("./navLabel/text")
                    if content is not None and label is not None:
                        entries.append((content.get("src", ""), label.text or ""))
            for address, title in entries:
                title = " ".join(title.split())
                if title:
                    target = self._resolved(posixpath.dirname(name), address)
                    found.setdefault(target, title)
        return found

    def _locked(self) -> frozenset[str]:
        """Encrypted files; fonts often are, and do not matter."""
        if ENCRYPTION not in self._names:
            return frozenset()
        references = self._xml(ENCRYPTION).iter("CipherReference")
        return frozenset(unquote(reference.get("URI", "")) for reference in references)

    @staticmethod
    def _resolved(folder: str, address: str) -> str:
        return posixpath.normpath(posixpath.join(folder, unquote(address.split("#")[0])))

    def _bytes(self, name: str) -> bytes:
        if name not in self._names:
            raise TextError(f"{self._path} is no whole EPUB: {name} is missing.")
        most = min(MOST_BYTES, self._left)
        with self._archive.open(name) as file:
            content = file.read(most + 1)
        if len(content) > most:
            raise TextError(f"{self._path}: {name} is too large for a chapter of a book.")
        self._left -= len(content)
        return content

    def _text(self, name: str) -> str:
        content = self._bytes(name)
        declared = _ENCODING.search(content[:200])
        if declared is not None:
            try:
                return content.decode(declared.group(1).decode())
            except (LookupError, UnicodeDecodeError):
                raise TextError(f"{self._path}: {name} is not in its own encoding.") from None
        return decoded(content, f"{self._path}: {name}")

    def _xml(self, name: str) -> ElementTree.Element:
        return _parsed(self._bytes(name), f"{self._path}: {name}")


def _texts(package: ElementTree.Element, name: str) -> list[str]:
    """Of the metadata's elements of a name."""
    found = [" ".join("".join(node.itertext()).split()) for node in package.iter(name)]
    return [text for text in found if text]


def _parsed(content: bytes, name: str) -> ElementTree.Element:
    """XML without namespaces; entities of its own are refused, others are never fetched.

    Raises:
        TextError: it is not well formed, or declares an entity.
    """
    builder = ElementTree.TreeBuilder()
    parser = expat.ParserCreate(namespace_separator="}")

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
    try:
        parser.Parse(content, True)
    except (expat.ExpatError, ValueError) as error:
        raise TextError(f"{name} is no XML: {error}.") from None
    return builder.close()
