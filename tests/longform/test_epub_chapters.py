"""An EPUB's chapters: headings, numbers over them, the table of contents; and its cover."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlx_chatterbox.longform.readers import read_document
from mlx_chatterbox.longform.readers.contents import better_title
from tests.longform.epubs import page, write_epub

CASES = Path(__file__).parents[1] / "data" / "documents"
LONG = "The king was old and slept for most of the day in the garden behind his house, as ever."


@pytest.fixture
def read(tmp_path):
    def of(chapters, **settings):
        return read_document(write_epub(tmp_path / "book.epub", chapters, **settings))

    return of


def chapters(document) -> list[str]:
    return [piece.chapter for piece in document.pieces if piece.chapter]


def spoken(document) -> list[str]:
    return [piece.text for piece in document.pieces]


def test_numbers_join_their_headings_and_the_contents_name_chapters():
    found = read_document(CASES / "headings.epub")
    assert spoken(found) == [
        "1. The Boy",
        "Text one.",
        "CHAPTER TWO The Girl",
        "Text two.",
        "IV",
        "Text three.",
        "Chapter Four",
        "Text four.",
    ]
    assert chapters(found) == ["1. The Boy", "CHAPTER TWO The Girl", "IV", "Chapter Four: End"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("<h1>01</h1><h2>The Boy</h2>", ["1. The Boy"]),
        ("<h2>1</h2><h2>The Boy</h2>", ["1. The Boy"]),
        ("<h1>I.</h1><h2>The Boy</h2>", ["I. The Boy"]),
        ("<p class='num'>07</p><h2>The Boy</h2>", ["7. The Boy"]),
        ("<h1>Chapter 03</h1>", ["Chapter 3"]),
        ("<h1>03 The Boy</h1>", ["3 The Boy"]),
        ("<h1>12</h1>", ["12"]),
        ("<h1>0.5 percent</h1>", ["0.5 percent"]),
        ("<h1>0</h1>", ["0"]),
        ("<h1>I</h1><h2>Chapter 1</h2>", ["I", "Chapter 1"]),
    ],
)
def test_numbers_over_headings(read, body, said):
    found = read({"c.xhtml": f"{body}<p>{LONG}</p>"})
    assert spoken(found) == [*said, LONG]
    assert chapters(found) == said


@pytest.mark.parametrize(
    ("heading", "entry", "said"),
    [
        ("01", "1. The Boy", "1. The Boy"),
        ("Chapter 1", "Chapter 1: The Boy", "Chapter 1. The Boy"),
        ("I", "The Boy", "I. The Boy"),
    ],
)
def test_a_title_in_a_paragraph_joins_its_number(read, heading, entry, said):
    body = f"<h1>{heading}</h1><p class='sub'>The Boy</p><p>{LONG}</p>"
    found = read({"c.xhtml": body}, contents=[("c.xhtml", entry)])
    assert spoken(found) == [said, LONG]
    assert chapters(found) == [entry]


@pytest.mark.parametrize(
    ("heading", "entry", "title"),
    [
        ("4", "Chapter 4", "Chapter 4"),
        ("Chapter 4", "4", "Chapter 4"),
        ("IV", "4. The Garden", "4. The Garden"),
        ("Chapter Four", "Chapter Four: The Garden", "Chapter Four: The Garden"),
        ("The Garden", "4. The Garden", "4. The Garden"),
        ("The Garden", "4", "The Garden"),
        ("The Garden", "c4.xhtml", "The Garden"),
        ("The Garden", "Untitled", "The Garden"),
        ("The Garden", "index_split_004", "The Garden"),
        ("The Garden", "Chapter 4", "The Garden"),
        (
            "The Garden, in which nothing happens",
            "The Garden",
            "The Garden, in which nothing happens",
        ),
        ("The Civil War", "Chapter 4", "The Civil War"),
        ("* * *", "The Garden", "The Garden"),
    ],
)
def test_the_better_title(heading, entry, title):
    assert better_title(heading, entry) == title


def test_chapters_within_one_file_have_their_titles_from_the_contents(read):
    body = (
        f'<h4 id="a">I</h4><p>{LONG}</p><p><a id="b"></a>{LONG}</p><div id="c"><p>{LONG}</p></div>'
        f'<h4><a name="d">The last</a></h4><p>{LONG}</p>'
    )
    titles = [("c.xhtml#a", "The first"), ("c.xhtml#b", "Two"), ("c.xhtml#c", "Three"),
              ("c.xhtml#d", "The last one")]  # fmt: skip
    found = read({"c.xhtml": body}, contents=titles)
    assert chapters(found) == ["The first", "Two", "Three", "The last one"]
    assert spoken(found) == ["I", LONG, LONG, LONG, "The last", LONG]


def test_a_chapter_of_the_contents_does_not_yield_to_a_heading_within(read):
    body = f"<p>{LONG}</p><p>{LONG}</p><h3>A letter</h3><p>{LONG}</p>"
    found = read({"c.xhtml": body}, contents=[("c.xhtml", "The Garden")])
    assert chapters(found) == ["The Garden", "A letter"]
    assert found.pieces[0].chapter == "The Garden"


def test_a_line_before_the_heading_is_not_a_chapter(read):
    body = f"<p>London, 1812</p><h2>Arrival</h2><p>{LONG}</p>"
    found = read({"c.xhtml": body}, contents=[("c.xhtml", "1. Arrival")])
    assert chapters(found) == ["1. Arrival"]


def test_the_newer_of_two_tables_of_contents_counts_without_its_other_lists(read):
    nav = (
        '<nav epub:type="page-list"><ol><li><a href="a.xhtml">12</a></li></ol></nav>'
        '<nav epub:type="landmarks"><ol><li><a href="a.xhtml">Begin reading</a></li></ol></nav>'
        '<nav epub:type="toc"><ol><li><a href="a.xhtml">The <i>Garden</i></a></li></ol></nav>'
    )
    found = read({"a.xhtml": f"<p>{LONG}</p>"}, nav=nav, contents=[("a.xhtml", "Old")])
    assert chapters(found) == ["The Garden"]


def test_sections_in_the_table_of_contents_are_not_chapters(read):
    nav = (
        '<nav epub:type="toc"><ol><li><a href="a.xhtml#p">Part</a><ol><li><a href="a.xhtml#c">The '
        'Garden</a><ol><li><a href="a.xhtml#s">Its gate</a></li></ol></li></ol></li></ol></nav>'
    )
    body = f'<h1 id="p">Part</h1><h2 id="c">The Garden</h2><p>{LONG}</p><h3 id="s">Gate</h3><p>{LONG}</p>'  # noqa: E501
    assert chapters(read({"a.xhtml": body}, nav=nav)) == ["Part", "The Garden"]


def test_a_broken_table_of_contents_is_reported_and_the_book_is_read(read):
    found = read({"a.xhtml": f"<h1>One</h1><p>{LONG}</p>"}, contents=[("a.xhtml", "<broken")])
    assert chapters(found) == ["One"]
    assert "its table of contents cannot be read" in found.remarks[0]


def test_files_outside_the_reading_order_are_reported(read):
    found = read({"a.xhtml": f"<p>{LONG}</p>", "b.xhtml": "<p>Extra.</p>"}, aside=["b.xhtml"])
    assert spoken(found) == [LONG]
    assert found.remarks == ("left out: 1 file outside the reading order",)


def test_addresses_spelled_differently_from_file_names(read):
    found = read({"Text/a%20b.xhtml": f"<p>{LONG}</p>"}, contents=[("text/A%20b.XHTML", "One")])
    assert chapters(found) == ["One"]


# The cover

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)
JPEG = b"\xff\xd8\xff\xe0" + bytes(20)
ITEM = '<item id="pic" href="i/front.png" media-type="image/png"{}/>'
WAYS = {
    "EPUB 3": {"manifest": ITEM.format(' properties="cover-image"')},
    "EPUB 2": {"manifest": ITEM.format(""), "metadata": '<meta name="cover" content="pic"/>'},
    "guide": {
        "manifest": ITEM.format(""),
        "guide": '<guide><reference type="cover" href="cover.xhtml"/></guide>',
    },
    "name": {"manifest": ITEM.format("").replace('"pic"', '"cover-picture"')},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("content", [PNG, JPEG])
def test_the_cover_is_found(read, way, content):
    cover = page('<svg><image xlink:href="i/front.png"/></svg>')
    files = {"i/front.png": content, "cover.xhtml": cover}
    found = read({"c.xhtml": f"<p>{LONG}</p>"}, files=files, **WAYS[way])
    assert found.cover == content


def test_only_pictures_of_known_kinds_are_covers(read, tmp_path):
    (tmp_path / "out.png").write_bytes(PNG)
    for content, href in ((b"#EXTM3U\n/etc/passwd", "i/front.png"), (b"", "../../out.png")):
        files = {"i/front.png": content} if content else {}
        manifest = f'<item id="c" href="{href}" media-type="image/png" properties="cover-image"/>'
        found = read({"c.xhtml": f"<p>{LONG}</p>"}, files=files, manifest=manifest)
        assert found.cover is None
