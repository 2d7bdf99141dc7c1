"""The picture of a book's cover."""

from __future__ import annotations

from xml.etree import ElementTree

from ...errors import TextError
from .archive import Archive
from .markup import Element, Markup

_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
_PAGES = (".xhtml", ".html", ".htm", ".xht")


def cover_of(package: ElementTree.Element, name: str, archive: Archive) -> bytes | None:
    """A JPEG or PNG file's bytes; None if the book has no cover, or one of another kind.

    Args:
        package: the book's package document, called `name` in the archive.
    """
    for found in _names(package, name, archive):
        try:
            content = archive.bytes(found) if found in archive.names else b""
        except TextError:
            continue
        if content.startswith((_JPEG, _PNG)):
            return content
    return None


def _names(package: ElementTree.Element, name: str, archive: Archive):
    """Names of what may be the cover, the likeliest first: as EPUB 3 says it, as EPUB 2 does, and
    as others do."""
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
            wanted = meta.get("content", "")
            item = items.get(wanted)
            if item is not None:
                pages.append(archive.resolved(name, item.get("href", "")))
            else:
                pages.append(archive.resolved(name, wanted))
    for reference in package.findall("./guide/reference"):
        if reference.get("type", "").lower() in ("cover", "other.ms-coverimage-standard"):
            pages.append(archive.resolved(name, reference.get("href", "")))
    for page in pages:
        yield from _pictures_of(page, archive) if page.lower().endswith(_PAGES) else (page,)
    for key, found in pictures.items():
        if "cover" in f"{key} {found.rsplit('/', 1)[-1]}".lower():
            yield found


def _pictures_of(page: str, archive: Archive) -> list[str]:
    """The first picture of a page."""
    try:
        markup = Markup(archive.text(page))
    except TextError:
        return []
    for event in markup.events:
        if isinstance(event, Element) and event.tag in ("img", "image"):
            address = event.get("src") or event.get("xlink:href") or event.get("href")
            return [archive.resolved(page, address)] if address else []
    return []
