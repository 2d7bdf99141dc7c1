"""Books of many publishers: contents pages of links, archives packed by hand, layout tables."""

from __future__ import annotations

import zipfile

import pytest

from mlx_chatterbox.errors import TextError
from mlx_chatterbox.longform.chapters import chapters_of
from mlx_chatterbox.longform.readers import read_document
from tests.longform.epubs import page, write_epub
from tests.longform.test_epub_texts import text_of

TWO = {
    "c1.xhtml": "<h2 id='a'>Chapter 1: The Boy</h2><p>Boy text.</p>",
    "c2.xhtml": "<h2>Chapter 2: The Girl</h2><p>Girl text.</p>",
}
THREE = {**TWO, "c3.xhtml": "<h2>The End</h2><p>Last text.</p>"}
LINKS = (
    "<p><a href='c1.xhtml#a'>Chapter 1: The Boy</a></p><p><a href='c2.xhtml'>Chapter 2: The Girl"
    "</a></p>"
)


@pytest.fixture
def read(tmp_path):
    def of(chapters, **settings):
        return read_document(write_epub(tmp_path / "book.epub", chapters, **settings))

    return of


def words(document) -> list[str]:
    return [piece.text for piece in document.pieces]


TOLD = ("left out: 1 list of links to chapters",)
SPOKEN = ["Chapter 1: The Boy", "Boy text.", "Chapter 2: The Girl", "Girl text."]


@pytest.mark.parametrize(
    "contents",
    [
        f"<h2>Contents</h2>{LINKS}",
        f"<p class='toc'>TABLE OF CONTENTS</p>{LINKS}",
        "<h3>Inhalt</h3><ul><li>I. <a href='c1.xhtml'>The Boy</a> 3</li><li>II. <a href="
        "'c2.xhtml'>The Girl</a> ... 17</li></ul>",
        "<div><b>Contents</b><br/><a href='c1.xhtml'>The Boy</a><br/><a href='c2.xhtml'>The Girl"
        "</a><br/></div>",
        "<h1>Contents</h1><p>Part One</p><p><a href='c1.xhtml'>The Boy</a></p><p>Part Two</p><p>"
        "<a href='c2.xhtml'>The Girl</a></p>",
        "<h2>List of Illustrations</h2><p><a href='c1.xhtml#a'>A boat</a></p>",
    ],
)
@pytest.mark.parametrize("table", [(), [("toc.xhtml", "Contents"), ("c1.xhtml", "The Boy")]])
def test_a_contents_page_of_links_is_left_out(read, contents, table):
    found = read({"toc.xhtml": contents, **TWO}, contents=table)
    assert words(found) == SPOKEN
    assert found.remarks == TOLD
    assert len(chapters_of(found)) == 2


def test_without_a_title_it_is_known_by_the_headings_that_it_leads_to(read):
    listed = f"{LINKS}<p><a href='c3.xhtml'>The End</a></p>"
    found = read({"toc.xhtml": listed, **THREE})
    assert words(found) == [*SPOKEN, "The End", "Last text."]
    assert found.remarks == TOLD


def test_a_list_in_the_file_of_its_chapters(read):
    listed = "".join(f"<p><a href='#c{n}'>Chapter {n}</a></p>" for n in (1, 2))
    text = "".join(f"<h2 id='c{n}'>Chapter {n}</h2><p>Text {n}.</p>" for n in (1, 2))
    found = read({"a.xhtml": f"<h1>The Book</h1><h2>CONTENTS</h2>{listed}{text}"})
    assert words(found) == ["The Book", "Chapter 1", "Text 1.", "Chapter 2", "Text 2."]
    assert found.remarks == TOLD


def test_links_of_a_story_are_spoken(read):
    game = (
        "<h2>One</h2><p>Turn:</p><ul><li><a href='b.xhtml'>Fight</a></li><li><a href='c.xhtml'>"
        "Run away</a></li><li><a href='d.xhtml'>Hide</a></li></ul>"
    )
    pages = {f"{n}.xhtml": f"<p>You do {n} now.</p>" for n in "bcd"}
    found = read({"a.xhtml": game, **pages})
    assert words(found)[1] == "Turn: Fight. Run away. Hide."
    web = "<h2>Contents</h2><p><a href='http://x.org'>My site</a></p><p>Text.</p>"
    assert "My site" in words(read({"a.xhtml": web}))[1]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("<p>10<sup>10<sup>2</sup></sup> stars.</p>", "10^10^2 stars."),
        ("<p>He goes<a href='n.xhtml'>1</a> on.</p>", "He goes on."),
        ("<p>He goes<a href='http://x.org/n.html#n1'>12</a> on.</p>", "He goes on."),
        (
            "<p>The <a href='c.xhtml'>3</a> men on the A<a href='c.xhtml'>1</a>.</p>",
            "The 3 men on the A1.",
        ),
        ("<p>See chapter <a href='c.xhtml#x'>5</a>.</p>", "See chapter 5."),
        ("<p>He <span class='pgnum'>p. 16</span>went.</p>", "He went."),
        ("<p>He <span class='x-ebookmaker-pageno'>[Pg 3]</span>went.</p>", "He went."),
        ("<p>He <span class='pb'>[19]</span>went<a name='page22'>[22]</a>.</p>", "He went."),
        ("<p>He saw <span id='p5'>5</span> on page <a id='page7'>8</a>.</p>", "He saw on page 8."),
        ("<div class='page'><p>A whole page.</p></div>", "A whole page."),
        (
            "<table><tr><td><p>A long text in a table that only says where on the page it has its "
            "place, as old programs do.</p></td></tr></table>",
            "A long text in a table that only says"
            " where on the page it has its place, as old programs do.",
        ),
        ("<table role='presentation'><tr><td>A.</td><td>B.</td></tr></table>", "A.\nB."),
        ("<table><tr><td>Apples</td><td>3</td></tr></table>", ""),
        ("<table><tr><td>Apples</td></tr><tr><td>Pears</td></tr></table>", ""),
    ],
)
def test_markup_of_many_publishers(body, text):
    assert text_of(body) == text


@pytest.mark.parametrize(
    "style",
    [
        "opacity:0",
        "position:absolute;left:-9999px",
        "position: absolute; top: -1000em",
        "position:absolute;clip:rect(0,0,0,0)",
        "position:absolute; clip: rect(1px, 1px, 1px, 1px)",
        "position:absolute;clip-path:inset(50%)",
        "font-size:0",
        "font-size: 0px",
    ],
)
@pytest.mark.parametrize("place", ["style", "class"])
def test_text_that_is_not_seen(style, place):
    sheet = f"<style>.h {{ {style} }}</style>" if place == "class" else ""
    how = "class='h'" if place == "class" else f"style='{style}'"
    assert text_of(f"{sheet}<p>Seen.</p><p {how}>Not seen.</p>") == "Seen."


@pytest.mark.parametrize(
    "style",
    [
        "opacity:0.8",
        "position:absolute;left:10px",
        "position:relative;left:-2px",
        "font-size:10px",
        "left:-9999px",
        "clip:rect(0,0,0,0)",
        "position:absolute;clip:rect(0,90px,90px,0)",
    ],
)
def test_text_that_is_seen(style):
    assert text_of(f"<p style='{style}'>Seen.</p>") == "Seen."
    sized = "<p style='font-size:0'><span style='font-size:12px'>Seen.</span></p>"
    assert text_of(sized) == "Seen."


def test_headings_of_pictures_are_not_chapters(read):
    found = read(
        {
            "a.xhtml": "<h2>One</h2><p>Text.</p><figure><h2>A boat</h2><img src='b.png' alt=''/>"
            "</figure><p>More.</p>"
        }
    )
    assert [one.title for one in chapters_of(found)] == ["One"]
    assert words(found) == ["One", "Text. A boat. More."]


# Archives

CONTAINER = '<container><rootfiles><rootfile full-path="{}"/></rootfiles></container>'
PACKAGE = (
    "<package><metadata><title>B</title></metadata><manifest><item id='a' href='{}' "
    "media-type='application/xhtml+xml'/></manifest><spine><itemref idref='a'/></spine></package>"
)
TEXT = page("<h1>One</h1><p>Text.</p>")


@pytest.mark.parametrize(
    "files",
    [
        {
            "META-INF/container.xml": CONTAINER.format("/O/b.opf"),
            "O/b.opf": PACKAGE.format("/O/a.xhtml"),
            "O/a.xhtml": TEXT,
        },
        {
            "META-INF/container.xml": CONTAINER.format("b.opf"),
            "b.opf": PACKAGE.format("kapitel%C3%A9.xhtml"),
            "kapitele\u0301.xhtml": TEXT,
        },
        {
            "My Book/META-INF/container.xml": CONTAINER.format("O/b.opf"),
            "My Book/O/b.opf": PACKAGE.format("a.xhtml"),
            "My Book/O/a.xhtml": TEXT,
            "__MACOSX/My Book/O/._b.opf": "x",
        },
        {
            "META-INF\\container.xml": CONTAINER.format("O\\b.opf"),
            "O\\b.opf": PACKAGE.format("t\\a.xhtml"),
            "O\\t\\a.xhtml": TEXT,
        },
    ],
    ids=["absolute addresses", "accents", "a folder packed", "backslashes"],
)
def test_archives_packed_by_hand(tmp_path, files):
    path = tmp_path / "b.epub"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    assert words(read_document(path)) == ["One", "Text."]


def test_missing_chapters_are_reported(tmp_path, read):
    spine = "<spine><itemref idref='a'/><itemref idref='gone'/></spine>"
    package = PACKAGE.format("a.xhtml").replace("<spine><itemref idref='a'/></spine>", spine)
    path = tmp_path / "b.epub"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {
            "META-INF/container.xml": CONTAINER.format("b.opf"),
            "b.opf": package,
            "a.xhtml": TEXT,
        }.items():
            archive.writestr(name, content)
    found = read_document(path)
    assert words(found) == ["One", "Text."]
    assert found.remarks == ("the book is incomplete: 1 file is missing (gone)",)


def test_a_book_whose_shop_left_its_rights_is_protected(tmp_path):
    path = write_epub(
        tmp_path / "b.epub",
        {"a.xhtml": bytes(range(256)) * 20},
        files={"../META-INF/rights.xml": "x"},
    )
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("META-INF/rights.xml", "<rights/>")
    with pytest.raises(TextError, match=r"a\.xhtml cannot be read: the book is protected \(DRM\)"):
        read_document(path)
