"""Small files that expand to large texts: read once, or refused before they are processed."""

from __future__ import annotations

import resource
import time
import zipfile

import pytest

from mlx_chatterbox.errors import TextError
from mlx_chatterbox.longform import plan
from mlx_chatterbox.longform.readers import archive, read_document
from tests.longform.epubs import CONTAINER, page, write_epub

STORY = "<p>It was late, and nobody came. The door stood open, and the lamp was out.</p>"


def test_a_chapter_that_is_named_again_and_again_is_read_once(tmp_path):
    once = read_document(write_epub(tmp_path / "a.epub", {"a.xhtml": STORY}))
    # Under every spelling that leads to the file.
    names = ["a.xhtml", "./a.xhtml", "x/../a.xhtml", "%61.xhtml", "A.XHTML", "a.xhtml#b"]
    items = "".join(
        f'<item id="i{n}" href="{names[n % len(names)]}" media-type="application/xhtml+xml"/>'
        for n in range(9000)
    )
    spine = "".join(f'<itemref idref="i{n}"/>' for n in range(9000))
    package = (
        '<package xmlns="http://www.idpf.org/2007/opf"><metadata/>'
        f"<manifest>{items}</manifest><spine>{spine}</spine></package>"
    )
    path = tmp_path / "b.epub"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("META-INF/container.xml", CONTAINER)
        file.writestr("O/book.opf", package)
        file.writestr("O/a.xhtml", page(STORY))
    started = time.monotonic()
    again = read_document(path)
    assert time.monotonic() - started < 20
    assert again.pieces == once.pieces


@pytest.mark.parametrize("body", ["<h1>a</h1>", "<p>a</p>", "<p>a[pause 1s]</p>", "a<br/>"])
def test_a_book_of_kilobytes_does_not_become_100_000_pieces(tmp_path, body):
    path = write_epub(tmp_path / "a.epub", {"a.xhtml": body * 100_000})
    assert path.stat().st_size < 8000
    with pytest.raises(TextError, match="unpacks to more than 50 times its"):
        read_document(path)


def test_books_are_far_from_the_limit(tmp_path):
    """Repeated content compresses better than any real text."""
    marked = STORY.replace(" ", ' <span class="calibre12">x</span> ')
    chapters = {f"{n}.xhtml": marked * 10 for n in range(40)}
    found = read_document(write_epub(tmp_path / "a.epub", chapters))
    assert len(found.pieces) == 400


def test_the_limit_grows_with_the_archive(tmp_path):
    """Pictures are not text, but a book with pictures is not a zip bomb of a few kilobytes."""
    import numpy as np

    picture = np.random.default_rng(0).integers(256, size=200_000, dtype=np.uint8).tobytes()
    body = "<p>It was late.</p>" * 60_000
    small = write_epub(tmp_path / "a.epub", {"a.xhtml": body})
    large = write_epub(tmp_path / "b.epub", {"a.xhtml": body}, files={"O/c.png": picture})
    with pytest.raises(TextError, match="50 times"):
        read_document(small)
    assert read_document(large).pieces
    assert archive.MOST_BYTES_IN_ALL == 32 << 20


def cues(count: int) -> str:
    return "".join(
        f"00:{n // 60:02}:{n % 60:02}.000 --> 01:00:00.000\nThis is {n}.\n\n" for n in range(count)
    )


SMALL = {
    "headings.txt": "1\n\nIt was late, and nobody came, nobody at all.\n\n" * 300,
    "pauses.txt": "It was late [pause 1s] " * 300,
    "headings.md": "# a\n\n" * 300,
    "subtitles.srt": cues(300),
    "subtitles.vtt": "WEBVTT\n\n" + cues(300),
}


@pytest.mark.parametrize("name", SMALL)
def test_no_text_has_pieces_without_end(tmp_path, name, monkeypatch):
    path = tmp_path / name
    path.write_text(SMALL[name])
    assert len(read_document(path).pieces) > 200
    monkeypatch.setattr(plan, "MAX_PIECES", 100)
    with pytest.raises(TextError, match="more than 100 pieces"):
        read_document(path)


@pytest.mark.slow
def test_the_most_pieces_fit_into_memory(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("1\n\n" * 600_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(TextError, match="more than 500000 pieces"):
        read_document(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 20
