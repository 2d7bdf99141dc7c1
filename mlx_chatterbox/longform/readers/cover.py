"""The picture of a book's cover."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree import ElementTree

from ...errors import TextError
from .archive import Archive
from .markup import Element, Markup

_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
_PAGES = (".xhtml", ".html", ".htm", ".xht")


def cover_of(package: ElementTree.Element, name: str, archive: Archive) -> bytes | None:
    """Find the cover; returns a JPEG or PNG file's bytes, None if there is none of these formats.

    Args:
        package: the book's package document, named `name` in the archive.
    """
    for path in _candidates(package, name, archive):
        try:
            content = archive.bytes(path) if path in archive.names else b""
        except TextError:
            continue
        if content.startswith((_JPEG, _PNG)):
            return content
    return None


def _candidates(package: ElementTree.Element, name: str, archive: Archive) -> Iterator[str]:
    """Names of files that may be the cover, the likeliest first: as EPUB 3 declares it, as EPUB 2
    does, and as others do."""
    items = {item.get("id"): item for item in package.findall("./manifest/item")}
    pictures = {
        key: archive.resolved(name, item.get("href", ""))
        for key, item in items.items()
        if item.get("media-type", "").startswith("image/")
    }
    for key, item in items.items():
        if "cover-image" in item.get("properties", "").split() and key in pictures:
            yield pictures[key]
    pages = []
    for meta in package.iter("meta"):
        if meta.get("name") == "cover":
            # The id of a file, or its address.
            content = meta.get("content", "")
            page = items.get(content)
            address = content if page is None else page.get("href", "")
            pages.append(archive.resolved(name, address))
    for reference in package.findall("./guide/reference"):
        if reference.get("type", "").lower() in ("cover", "other.ms-coverimage-standard"):
            pages.append(archive.resolved(name, reference.get("href", "")))
    for path in pages:
        yield from _pictures_of(path, archive) if path.lower().endswith(_PAGES) else (path,)
    for key, path in pictures.items():
        if "cover" in f"{key} {path.rsplit('/', 1)[-1]}".lower():
            yield path


def _pictures_of(page: str, archive: Archive) -> list[str]:
    """The name of the first picture of a page, in a list; [] for none."""
    try:
        markup = Markup(archive.text(page))
    except TextError:
        return []
    for event in markup.events:
        if isinstance(event, Element) and event.tag in ("img", "image"):
            address = event.get("src") or event.get("xlink:href") or event.get("href")
            return [archive.resolved(page, address)] if address else []
    return []
