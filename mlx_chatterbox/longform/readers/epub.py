"""EPUB 2 and 3: the chapters in reading order, read with the standard library alone.

Nothing in a book is trusted: no file is unpacked to disk, reading is limited whatever sizes the
archive declares, XML that declares entities is refused, and no address leads out of the archive.
"""

from __future__ import annotations

import lzma
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from xml.etree import ElementTree

from ...errors import TextError
from ...harmless import one_line, shortened
from ..blocks import Block, plan_blocks
from ..plan import Document
from .archive import Archive
from .contents import ContentsEntry, entries_of_nav, entries_of_ncx, shaped
from .cover import cover_of
from .links import find_contents
from .markup import Element, Markup
from .notes import ChapterFile, find_notes
from .styles import Styles, applies_to, sheets_of
from .xhtml import ChapterReader

CONTAINER, ENCRYPTION = "META-INF/container.xml", "META-INF/encryption.xml"
# Files that shops add to books that they encrypt.
RIGHTS = ("META-INF/rights.xml", "META-INF/sinf.xml", "META-INF/license.lcpl")
# Limits of chapters in the reading order, and of style sheets of a chapter.
MOST_CHAPTERS, _MOST_SHEETS = 10_000, 50
_XHTML = ("application/xhtml+xml", "text/html", "text/x-oeb1-document", "application/x-dtbook+xml")
_ENDINGS = (".xhtml", ".html", ".htm", ".xht")
# Names of things that are left out, singular and plural, in the order in which they are reported.
_NAMES = {
    "note": ("note", "notes"),
    "mark": ("mark of a note", "marks of notes"),
    "contents": ("list of links to chapters", "lists of links to chapters"),
    "hidden passage": ("hidden passage", "hidden passages"),
    "table": ("table", "tables"),
    "passage of code": ("passage of code", "passages of code"),
    "formula": ("formula", "formulas"),
    "picture": ("picture", "pictures"),
    "lost letter": (
        "picture that may be the first letter of a word",
        "pictures that may be the first letters of words",
    ),
    "recording or film": ("recording or film", "recordings or films"),
    "index": ("index", "indexes"),
    "text of Project Gutenberg's own": ("text of Project Gutenberg's own",) * 2,
    "aside": ("file outside the reading order", "files outside the reading order"),
    "foreign": ("file that is not text", "files that are not text"),
}


def read_epub(path: Path, language: str | None, longest: int) -> Document:
    """Read an EPUB; see `read_document`.

    A chapter's title comes from the table of contents if that has more than its heading, or if it
    has no heading; then it is not spoken.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            book = _Book(path, archive, language)
            blocks = book.blocks()
            pieces = plan_blocks(blocks, language, longest)
            return Document(book.title, book.author, pieces, book.cover(), tuple(book.remarks()))
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        # The library's message may have a name of 64 kB in it.
        why = shortened(one_line(error))
        raise TextError(f"{path} is not an EPUB, or is damaged: {why}.") from None
    except OSError as error:
        raise TextError(f"{path} cannot be read: {error.strerror or error}.") from None
    except (lzma.LZMAError, ValueError, struct.error, MemoryError) as error:
        raise TextError(
            f"{path} is not an EPUB, or is damaged: {shortened(one_line(error))}."
        ) from None


class _Book:
    """An open book.

    Attributes:
        title, author: from its metadata, or None.
    """

    def __init__(self, path: Path, archive: zipfile.ZipFile, language: str | None):
        self._path = path
        self._archive = Archive(path, archive)
        package_name = self._package_name()
        self._package = self._archive.xml(package_name)
        self._name = package_name
        self.title = next(iter(_texts(self._package, "title")), None)
        self.author = ", ".join(_texts(self._package, "creator")) or None
        languages = _texts(self._package, "language")
        self._archive.decoder.language = languages[0] if languages else language or ""
        self._items = {item.get("id"): item for item in self._package.findall("./manifest/item")}
        self._left_out: Counter[str] = Counter()
        self._sheets: dict[tuple[tuple[str, str], ...], Styles] = {}
        self._problems: list[str] = []

    def _package_name(self) -> str:
        """The name of the package, which lists all other files.

        Archives that were packed by hand may have no container where it belongs; then it is the
        only file that can be the package.
        """
        if CONTAINER not in self._archive:
            packages = self._archive.packages()
            if len(packages) != 1:
                raise TextError(f"{self._path} is not a complete EPUB: {CONTAINER} is missing.")
            return packages[0]
        rootfile = self._archive.xml(CONTAINER).find(".//rootfile")
        package = "" if rootfile is None else rootfile.get("full-path", "")
        if not package:
            raise TextError(f"{self._path} is not an EPUB: {CONTAINER} names no package.")
        return self._archive.resolved("package", package)

    def blocks(self) -> list[Block]:
        """The blocks of all chapters in reading order, with a break where no heading begins one."""
        names, aside = self._reading_order()
        chapters = [self._chapter(name) for name in names]
        find_notes(chapters, self._archive.resolved, aside)
        find_contents(chapters, self._archive.resolved)
        entries = self._entries({chapter.name: chapter for chapter in chapters})
        book: list[Block] = []
        chapters.reverse()
        while chapters:
            chapter = chapters.pop()  # so that its memory is freed with it
            of_file = entries.get(chapter.name, {})
            reader = ChapterReader(chapter, of_file)
            blocks = [Block("entry", title) for title in of_file.get("", ())] + reader.blocks()
            self._left_out += reader.left_out
            blocks = shaped(blocks, self._left_out)
            first = next((block for block in blocks if block.text), None)
            if first is None:
                continue
            if first.kind not in ("heading", "chapter"):
                book.append(Block("break"))
            book.extend(blocks)
        return book

    def cover(self) -> bytes | None:
        """The picture of the book's cover."""
        return cover_of(self._package, self._name, self._archive)

    def remarks(self) -> list[str]:
        """Report what is left out, guessed or missing, a line for each kind."""
        parts = [
            f"{count} {_NAMES[what][count > 1]}"
            for what in _NAMES
            if (count := self._left_out[what])
        ]
        left_out = [f"left out: {', '.join(parts)}"] if parts else []
        return [*left_out, *self._archive.decoder.remarks(), *self._problems]

    def _reading_order(self) -> tuple[list[str], frozenset[str]]:
        """Names of the chapters' files, and of the files outside the reading order."""
        spine = self._package.find("./spine")
        if spine is None:
            raise TextError(f"{self._path} is not an EPUB: {self._name} has no spine.")
        locked = self._locked()
        names: dict[str, None] = {}
        missing: dict[str, None] = {}
        aside = set()
        references = spine.findall("./itemref")
        if len(references) > MOST_CHAPTERS:
            raise TextError(
                f"{self._path} lists {len(references)} chapters: over {MOST_CHAPTERS}, too many "
                "for a book."
            )
        for reference in references:
            item = self._items.get(reference.get("idref"))
            if item is None:
                missing[str(reference.get("idref"))] = None
                continue
            if "nav" in item.get("properties", "").split():
                continue
            name = self._archive.resolved(self._name, item.get("href", ""))
            if reference.get("linear") == "no":
                aside.add(name)
                self._left_out["aside"] += 1
                continue
            if item.get("media-type") not in _XHTML and not name.lower().endswith(_ENDINGS):
                self._left_out["foreign"] += 1
                continue
            if name in locked:
                raise TextError(f"{self._path} is encrypted: only the app of its shop can read it.")
            if name not in self._archive:
                missing[name] = None
                continue
            names[name] = None
        self._say_missing(missing, names)
        return list(names), frozenset(aside - names.keys())

    def _say_missing(self, missing: Collection[str], names: Collection[str]) -> None:
        if not missing:
            return
        first = next(iter(missing))
        if not names:
            raise TextError(f"{self._path} is not a complete EPUB: {first} is missing.")
        many = "files are" if len(missing) > 1 else "file is"
        self._problems.append(f"the book is incomplete: {len(missing)} {many} missing ({first})")

    def _chapter(self, name: str) -> ChapterFile:
        try:
            markup = Markup(self._archive.text(name))
        except TextError as error:
            if any(rights in self._archive for rights in RIGHTS):
                raise TextError(
                    f"{self._path}: {name} cannot be read: the book is protected (DRM), and only "
                    "the app of its shop can read it."
                ) from None
            if str(error).startswith("it "):
                raise TextError(f"{self._path}: {name}: {error}") from None
            raise
        sheets = [(name, sheet) for sheet in markup.sheets]
        for event in markup.events:
            if isinstance(event, Element) and event.tag == "link":
                linked = event.get("rel").strip().lower() == "stylesheet"
                if linked and applies_to(event.get("media")):
                    sheets += filter(None, [self._archive.sheet(name, event.get("href"))])
            elif isinstance(event, Element) and event.tag == "body":
                break
        key = tuple(dict.fromkeys(sheets))[:_MOST_SHEETS]
        if key not in self._sheets:
            self._sheets[key] = Styles(sheets_of(key, self._archive.sheet))
        return ChapterFile(name, markup, self._sheets[key].for_another_file())

    def _entries(self, chapters: dict[str, ChapterFile]) -> dict[str, dict[str, list[str]]]:
        """Titles of the table of contents by file and the id in it, "" for the file's beginning."""
        titles: dict[str, dict[str, list[str]]] = {}
        for name, entries in self._tables():
            for entry in entries:
                path, _, fragment = entry.address.partition("#")
                target = self._archive.resolved(name, path) if path else name
                fragment = self._archive.unquoted(fragment)
                if not entry.title or target not in chapters:
                    continue
                of_file = titles.setdefault(target, {})
                if fragment not in chapters[target].ids:
                    fragment = ""
                of_file.setdefault(fragment, [entry.title])
            if titles:
                break
        return titles

    def _tables(self) -> list[tuple[str, list[ContentsEntry]]]:
        """The tables of contents, EPUB 3's before EPUB 2's."""
        tables: list[tuple[str, list[ContentsEntry]]] = []
        for item in self._items.values():
            is_nav = "nav" in item.get("properties", "").split()
            if not is_nav and item.get("media-type") != "application/x-dtbncx+xml":
                continue
            name = self._archive.resolved(self._name, item.get("href", ""))
            if name not in self._archive:
                continue
            try:
                if is_nav:
                    tables.insert(0, (name, entries_of_nav(self._archive.text(name))))
                else:
                    tables.append((name, entries_of_ncx(self._archive.xml(name))))
            except TextError as error:
                self._problems.append(f"its table of contents cannot be read: {error}")
        return tables

    def _locked(self) -> frozenset[str]:
        """Names of encrypted files; fonts often are, and are not read."""
        if ENCRYPTION not in self._archive:
            return frozenset()
        references = self._archive.xml(ENCRYPTION).iter("CipherReference")
        return frozenset(
            self._archive.unquoted(reference.get("URI", "")) for reference in references
        )


def _texts(package: ElementTree.Element, name: str) -> list[str]:
    """The texts of the metadata's elements of a name, without empty ones."""
    texts = [" ".join("".join(node.itertext()).split()) for node in package.iter(name)]
    return [text for text in texts if text]
