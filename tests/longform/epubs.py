"""Small EPUBs for tests."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

CONTAINER = (
    '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
    '<rootfile full-path="O/book.opf"/></rootfiles></container>'
)
XHTML = "application/xhtml+xml"


def page(body: str, head: str = "") -> str:
    """A chapter's file."""
    return (
        '<?xml version="1.0" encoding="utf-8"?><html xmlns="http://www.w3.org/1999/xhtml" '
        f'xmlns:epub="http://www.idpf.org/2007/ops"><head><title>x</title>{head}</head>'
        f"<body>{body}</body></html>"
    )


def ncx(entries: Sequence[tuple[str, str]]) -> str:
    points = "".join(
        f'<navPoint><navLabel><text>{title}</text></navLabel><content src="{address}"/></navPoint>'
        for address, title in entries
    )
    return f'<ncx xmlns="http://www.daisy.org/z3986/2005/ncx/"><navMap>{points}</navMap></ncx>'


def write_epub(
    path: Path,
    chapters: Mapping[str, str | bytes],
    *,
    contents: Sequence[tuple[str, str]] = (),
    nav: str = "",
    files: Mapping[str, str | bytes] | None = None,
    aside: Sequence[str] = (),
    language: str = "en",
    metadata: str = "",
    manifest: str = "",
    guide: str = "",
) -> Path:
    """A book.

    Args:
        chapters: files in reading order; a string is the body, bytes are the whole file.
        contents: address and title of each entry of a `toc.ncx`.
        nav: body of a `nav.xhtml`.
        files: others, by name.
        aside: names of chapters with `linear="no"`.
    """
    whole = {
        name: body if isinstance(body, bytes) else page(body) for name, body in chapters.items()
    }
    whole.update(files or {})
    items = "".join(f'<item id="{n}" href="{n}" media-type="{XHTML}"/>' for n in chapters)
    if contents:
        whole["toc.ncx"] = ncx(contents)
        items += '<item id="ncx" href="toc.ncx" media-type="application/x-dtbncx+xml"/>'
    if nav:
        whole["nav.xhtml"] = page(nav)
        items += f'<item id="nav" href="nav.xhtml" media-type="{XHTML}" properties="nav"/>'
    references = "".join(
        f'<itemref idref="{n}"{" linear=" + chr(34) + "no" + chr(34) if n in aside else ""}/>'
        for n in chapters
    )
    whole["book.opf"] = (
        '<package xmlns="http://www.idpf.org/2007/opf"><metadata '
        'xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>The Book</dc:title>'
        f"<dc:language>{language}</dc:language>{metadata}</metadata>"
        f"<manifest>{items}{manifest}</manifest><spine>{references}</spine>{guide}</package>"
    )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mimetype", "application/epub+zip")
        archive.writestr("META-INF/container.xml", CONTAINER)
        for name, content in whole.items():
            archive.writestr(f"O/{name}", content)
    return path
