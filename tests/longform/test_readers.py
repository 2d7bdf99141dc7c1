"""Documents of every kind become what a reader would speak; broken and hostile ones an error."""

import io
import zipfile

import numpy as np
import pytest

from mlx_chatterbox.errors import TextError
from mlx_chatterbox.longform.readers import archive, plain, read_document
from mlx_chatterbox.longform.readers.xhtml import xhtml_blocks

STORY = "The old house stood at the end of the road, and nobody had lived in it for many years."


def words(document) -> list[str]:
    return [piece.text for piece in document.pieces]


@pytest.fixture
def read(tmp_path):
    """Function that writes a file of a given name and reads it."""

    def of(name, content, **settings):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return read_document(path, **settings)

    return of


# Plain text


@pytest.mark.parametrize(
    "content",
    [
        "Größe.".encode(),
        "Größe.".encode("utf-8-sig"),
        "Größe.".encode("utf-16"),
        b"\xfe\xff" + "Größe.".encode("utf-16-be"),
    ],
)
def test_plain_text_in_unicode(read, content):
    for name in ("x.txt", "X.TXT", "x"):
        assert words(read(name, content, language="de")) == ["Größe."]


def test_a_book_of_project_gutenberg(read):
    text = f"""The Project Gutenberg eBook of Emma

Title: Emma
Author: Jane Austen

*** START OF THE PROJECT GUTENBERG EBOOK EMMA ***

CHAPTER I

{STORY} It was _very
old_, and snake_case stays.

*** END OF THE PROJECT GUTENBERG EBOOK EMMA ***
The licence.
"""
    found = read("x.txt", text)
    assert (found.title, found.author) == ("Emma", "Jane Austen")
    assert words(found) == ["CHAPTER I", f"{STORY} It was very old, and snake_case stays."]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.txt", b"Gut.\n\xed\xb3\xa9", r"line 2 is not UTF-8 \(byte 0xed\)"),
        ("x.txt", b"\xff\xfea", "is not complete UTF-16"),
        ("x.txt", b"a\0b", "zero bytes"),
        ("x.txt", b"", "nothing to speak"),
        ("x.txt", b" ... \n", "nothing to speak"),
        ("x.txt", b"[pause 1s]", "nothing to speak"),
        (
            "x.pdf",
            b"%PDF",
            r".pdf files cannot be read; save it as one of .txt, .*\.epub, \.srt, \.vtt",
        ),
        ("x.md", b"\xff\x81", "line 1 is not UTF-8"),
        ("x.epub", b"no zip", "is not an EPUB, or is damaged"),
        ("x.srt", b"Hello.", "line 1 should be times"),
    ],
)
def test_unreadable_files_are_reported_in_one_line(read, tmp_path, name, content, message):
    with pytest.raises(TextError, match=message) as caught:
        read(name, content)
    assert "\n" not in str(caught.value)
    assert str(tmp_path / name) in str(caught.value)


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(TextError, match="there is no file"):
        read_document(tmp_path / "x.txt")
    with pytest.raises(TextError, match="is a folder"):
        read_document(tmp_path)


def test_files_over_the_size_limit_are_refused(read, monkeypatch):
    monkeypatch.setattr(plain, "MOST_BYTES", 10)
    with pytest.raises(TextError, match="the limit of a text"):
        read("x.txt", STORY)


# Markdown

MARKDOWN = f"""---
title: "The House"
author: Ann Author
---
# The *House*

{STORY} It was **very** old, and [empty](https://example.com "no")[^1], see <https://example.com>.
A `word` &amp; more.

![a picture](x.png)

- Milk and honey, which they bought at the market in the morning
- Eggs

| a | b |
|---|---|
| 1 | 2 |

```python
print("code")
```

    indented code

---

## Part two

> A quotation that is long enough to stand alone in its paragraph.

<div>html</div>

[^1]: A note.
"""


def test_markdown_is_read_as_one_would_speak_it(read):
    found = read("x.md", MARKDOWN)
    assert (found.title, found.author) == ("The House", "Ann Author")
    assert words(found) == [
        "The House",
        STORY + " It was very old, and empty, see. A word & more.",
        "Milk and honey, which they bought at the market in the morning. Eggs.",
        "Part two",
        "A quotation that is long enough to stand alone in its paragraph.",
    ]
    assert [piece.chapter for piece in found.pieces] == ["The House", None, None, "Part two", None]
    assert found.remarks == (
        "left out: 1 block of HTML, 2 blocks of code, 1 note, 1 picture, 1 table",
    )


def test_the_one_highest_heading_is_the_title(read):
    assert read("x.md", f"# One\n\n{STORY}\n\n## Two\n").title == "One"
    assert read("x.md", f"# One\n\n{STORY}\n\n# Two\n").title is None
    assert read("x.markdown", f"One\n===\n\n{STORY}").pieces[0].chapter == "One"


def test_a_pause_in_markdown(read):
    assert read("x.md", "Well [pause 0.8s] then it goes on.").pieces[0].pause == 0.8


# EPUB

CONTAINER = """<?xml version="1.0"?>
<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container" version="1.0"><rootfiles>
<rootfile full-path="OEBPS/book.opf" media-type="application/oebps-package+xml"/>
</rootfiles></container>"""
PACKAGE = """<?xml version="1.0" encoding="UTF-8"?>
<package xmlns="http://www.idpf.org/2007/opf" version="3.0"><metadata
 xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>Émile &amp; Co.</dc:title>
<dc:creator>Ann Author</dc:creator><dc:creator>Bob Writer</dc:creator></metadata>
<manifest>
<item id="nav" href="nav.xhtml" media-type="application/xhtml+xml" properties="nav"/>
<item id="ncx" href="toc.ncx" media-type="application/x-dtbncx+xml"/>
<item id="cover" href="cover.xhtml" media-type="application/xhtml+xml"/>
<item id="two" href="text/two%20b.xhtml" media-type="application/xhtml+xml"/>
<item id="one" href="text/one.xhtml" media-type="application/xhtml+xml"/>
<item id="notes" href="notes.xhtml" media-type="application/xhtml+xml"/>
<item id="css" href="x.css" media-type="text/css"/>
</manifest>
<spine toc="ncx"><itemref idref="cover"/><itemref idref="nav"/><itemref idref="one"/>
<itemref idref="two"/><itemref idref="notes" linear="no"/><itemref idref="lost"/></spine>
</package>"""
XHTML = '<?xml version="1.0" encoding="utf-8"?><!DOCTYPE html><html xmlns:epub="x"><head><title>T</title></head>{}</html>'  # noqa: E501
NAV = '<body><nav epub:type="toc"><a href="text/one.xhtml">One</a><a href="text/two%20b.xhtml#x">The <b>second</b></a></nav></body>'  # noqa: E501
NCX = """<ncx xmlns="http://www.daisy.org/z3986/2005/ncx/"><navMap><navPoint><navLabel><text>Old
 second</text></navLabel><content src="text/two%20b.xhtml"/></navPoint></navMap></ncx>"""
FILES = {
    "mimetype": "application/epub+zip",
    "META-INF/container.xml": CONTAINER,
    "OEBPS/book.opf": PACKAGE,
    "OEBPS/nav.xhtml": XHTML.format(NAV),
    "OEBPS/toc.ncx": NCX,
    "OEBPS/cover.xhtml": XHTML.format('<body><img src="x.png" alt="cover"/></body>'),
    "OEBPS/text/one.xhtml": XHTML.format(
        f'<body><h1>Chapter 1<br/>Home</h1><p>{STORY}<a epub:type="noteref" href="#n">1</a></p>'
        f"<table><tr><td>cell</td></tr></table><p>On the 1<sup>st</sup> of May<sup>2</sup>, it was."
        f"</p><hr/><p>{STORY}</p><script>alert(1)</script></body>"
    ),
    "OEBPS/text/two b.xhtml": XHTML.format(f"<body><div>{STORY}</div></body>"),
    "OEBPS/notes.xhtml": XHTML.format("<body><p>A note.</p></body>"),
}


def book(tmp_path, leave_out=(), compression=zipfile.ZIP_DEFLATED, **changes):
    path = tmp_path / "book.epub"
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in {**FILES, **changes.get("files", {})}.items():
            if name not in leave_out:
                archive.writestr(name, content)
    return path


def test_a_book_is_read_in_the_order_of_its_spine(tmp_path):
    found = read_document(book(tmp_path))
    assert (found.title, found.author) == ("Émile & Co.", "Ann Author, Bob Writer")
    assert words(found) == [
        "Chapter 1 Home",
        f"{STORY} On the 1st of May, it was.",
        STORY,
        STORY,
    ]
    assert [piece.chapter for piece in found.pieces] == [
        "Chapter 1 Home",
        None,
        None,
        "The second",
    ]


def test_an_older_book_has_its_contents_elsewhere(tmp_path):
    package = PACKAGE.replace(' properties="nav"', "").replace('<itemref idref="nav"/>', "")
    found = read_document(book(tmp_path, files={"OEBPS/book.opf": package}))
    assert found.pieces[-1].chapter == "Old second"


def test_ruby_annotations_are_not_spoken():
    blocks = xhtml_blocks("<p><ruby>東京<rp>(</rp><rt>とうきょう</rt><rp>)</rp></ruby>に行く。</p>")
    assert [block.text for block in blocks] == ["東京に行く。"]


def test_html_that_is_not_well_formed_is_read_as_far_as_it_goes():
    blocks = xhtml_blocks("<p>One<p>Two <b>bold</i> &eacute;&nbsp;&#x41; <div>Three</body>")
    assert [block.text.split() for block in blocks] == [
        ["One"],
        ["Two", "bold", "é", "A"],
        ["Three"],
    ]


def test_content_that_is_not_text_is_left_out():
    text = """<?xml version="1.0"?>
<!DOCTYPE html [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>
<html><head><title/><script/><style>p < q { }</style></head><body>
<!-- no <p>comment</p> --><p>One &b; <![CDATA[two]]> 1 < 2.</p>
<script>if (a < b) document.write("<p>no</p>");</script><p>Three<!-- never ended</p></body>"""
    assert [" ".join(block.text.split()) for block in xhtml_blocks(text)] == [
        "One &b; two 1 < 2.",
        "Three<!-- never ended",
    ]


@pytest.mark.parametrize(
    "part", ["<", "<!--", "<a ", "&", "<p>", "<sup>", "<p a='", "<pre>", "<script/>", "<![CDATA["]
)
def test_hostile_html_is_read_in_good_time(part):
    import time

    began = time.process_time()
    xhtml_blocks(part * 20000)
    assert time.process_time() - began < 5.0


BOMB = (
    '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]>'
    "<package><metadata><title>&b;</title></metadata></package>"
)
OUTSIDE = (
    '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
    "<package><metadata><title>&a;</title></metadata></package>"
)
LOCKED = """<encryption xmlns:enc="x"><enc:EncryptedData><enc:CipherData>
<enc:CipherReference URI="OEBPS/{}"/></enc:CipherData></enc:EncryptedData></encryption>"""


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"OEBPS/book.opf": BOMB}, "book.opf declares XML entities"),
        ({"OEBPS/book.opf": OUTSIDE}, "book.opf declares XML entities"),
        ({"META-INF/container.xml": BOMB}, "container.xml declares XML entities"),
        ({"OEBPS/book.opf": "<package"}, "book.opf is not well-formed XML"),
        ({"OEBPS/book.opf": "<package/>"}, "has no spine"),
        ({"META-INF/container.xml": "<container/>"}, "names no package"),
        ({"OEBPS/text/one.xhtml": b"\xff\x81"}, "one.xhtml is neither UTF-8 nor in"),
        ({"META-INF/encryption.xml": LOCKED.format("text/one.xhtml")}, "is encrypted"),
    ],
)
def test_hostile_and_broken_books_are_refused(tmp_path, files, message):
    with pytest.raises(TextError, match=message) as caught:
        read_document(book(tmp_path, files=files))
    assert "\n" not in str(caught.value)


def test_no_address_leads_out_of_the_archive(tmp_path):
    package = PACKAGE.replace("text/one.xhtml", "../../../etc/passwd")
    found = read_document(book(tmp_path, files={"OEBPS/book.opf": package}))
    (missing,) = [remark for remark in found.remarks if "missing" in remark]
    assert missing.endswith("missing (../../etc/passwd)")


def test_a_book_without_a_package_is_refused(tmp_path):
    with pytest.raises(TextError, match=r"OEBPS/book\.opf is missing"):
        read_document(book(tmp_path, leave_out=["OEBPS/book.opf"]))


def test_a_missing_chapter_is_reported_and_the_others_are_read(tmp_path):
    whole = words(read_document(book(tmp_path)))
    found = read_document(book(tmp_path, leave_out=["OEBPS/text/one.xhtml"]))
    left = words(found)
    assert 0 < len(left) < len(whole)
    assert set(left) < set(whole)
    (told,) = [remark for remark in found.remarks if "missing" in remark]
    assert told.endswith("missing (OEBPS/text/one.xhtml)")


def test_encrypted_fonts_do_not_matter(tmp_path):
    locked = {"META-INF/encryption.xml": LOCKED.format("fonts/a.otf")}
    assert len(read_document(book(tmp_path, files=locked)).pieces) == 4


def test_a_zip_bomb_is_not_unpacked(tmp_path):
    """At most the limit is read of 100 MB of blanks packed into a few kilobytes."""
    import tracemalloc

    path = book(tmp_path, files={"OEBPS/text/one.xhtml": b" " * (100 << 20)})
    assert path.stat().st_size < 1 << 20
    tracemalloc.start()
    with pytest.raises(TextError, match=r"one\.xhtml, it unpacks to more than 50 times"):
        read_document(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * archive.MOST_BYTES


def test_a_large_uncompressed_file_is_refused_as_a_chapter(tmp_path):
    noise = np.random.default_rng(0).integers(97, 123, 17 << 20, np.uint8).tobytes()
    path = book(tmp_path, files={"OEBPS/text/one.xhtml": noise})
    with pytest.raises(TextError, match=r"one\.xhtml is too large for a chapter"):
        read_document(path)


def test_many_large_chapters_are_refused_too(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MOST_BYTES_IN_ALL", 4000)
    with pytest.raises(TextError, match="too large"):
        read_document(book(tmp_path, files={"OEBPS/text/one.xhtml": XHTML.format(STORY * 40)}))


def test_a_size_that_lies_and_a_cut_archive_are_errors(tmp_path):
    content = bytearray(book(tmp_path).read_bytes())
    (tmp_path / "cut.epub").write_bytes(content[: len(content) // 2])
    with pytest.raises(TextError, match="is not an EPUB, or is damaged"):
        read_document(tmp_path / "cut.epub")
    # Bytes of a compressed chapter are changed: its checksum or its code no longer fits.
    whole = zipfile.ZipFile(io.BytesIO(content))
    start = whole.getinfo("OEBPS/text/one.xhtml").header_offset + 60
    content[start : start + 20] = bytes(20)
    (tmp_path / "bad.epub").write_bytes(content)
    with pytest.raises(TextError, match=r"is damaged|cannot be read"):
        read_document(tmp_path / "bad.epub")


def test_other_encodings_that_a_chapter_declares(tmp_path):
    chapter = (
        '<?xml version="1.0" encoding="iso-8859-1"?><html><body><p>Größe und Maß.</p></body></html>'
    )
    found = read_document(
        book(tmp_path, files={"OEBPS/text/two b.xhtml": chapter.encode("latin-1")})
    )
    assert words(found)[-1] == "Größe und Maß."


# SRT

SRT = """\ufeff1\r
00:00:01,000 --> 00:00:02,500 X1:40 X2:600\r
<i>Hello,</i> <font color="red">you</font>\r
{\\an8}there &amp; here.\r
\r
3\r
0:00:06.5 --> 00:00:09,250\r
- Yes?\r
- ♪ No! ♪\r
\r
2\r
00:00:03,000 --> 00:00:04,000\r
♪ ♪ ...\r
\r
\r
01:00:00,000 --> 01:00:01,000\r
2001\r
"""


def test_subtitles_have_words_and_times(read):
    found = [(piece.text, piece.start, piece.end) for piece in read("x.srt", SRT).pieces]
    assert found == [
        ("Hello, you there & here.", 1.0, 2.5),
        ("Yes? No!", 6.5, 9.25),
        ("2001", 3600.0, 3601.0),
    ]


def test_long_subtitles_share_their_time_by_length(read):
    text = f"1\n00:00:00,000 --> 00:00:10,000\n{STORY} {STORY[:40]}."
    found = read("x.srt", text, longest=90).pieces
    assert len(found) == 2
    assert found[0].start == 0.0
    assert found[0].end == found[1].start == pytest.approx(10 * 87 / 128, abs=0.1)
    assert found[1].end == 10.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1\n00:00:01,000 to 00:00:02,000\nHi.", "line 2 should be times such as .* it is '00:0"),
        ("1\n00:00:02,000 --> 00:00:01,000\nHi.", "line 2: it ends before it begins"),
        ("1\n", "line 2 should be times"),
        ("1\n00:00:01,000 --> 00:00:02,000\n\n", "nothing to speak"),
    ],
)
def test_wrong_subtitles_are_named_by_line(read, text, message):
    with pytest.raises(TextError, match=message):
        read("x.srt", text)


def test_subtitles_in_any_order_come_in_that_of_their_times(read):
    later = "1\n00:00:05,000 --> 00:00:06,000\nLater.\n\n2\n00:00:01,000 --> 00:00:02,000\nSoon."
    assert words(read("x.srt", later)) == ["Soon.", "Later."]


def test_subtitles_that_begin_together_are_one(read):
    text = "1\n00:00:05,000 --> 00:00:06,000\nOne.\n\n2\n00:00:05,000 --> 00:00:07,000\nTwo."
    (piece,) = read("x.srt", text).pieces
    assert (piece.text, piece.start, piece.end) == ("One. Two.", 5.0, 7.0)


def test_a_paragraph_of_thousands_of_marks_is_read_as_plain_words_and_reported(tmp_path):
    path = tmp_path / "a.md"
    path.write_text("*a* " * 3000 + "\n\nAnd *then*.\n")
    document = read_document(path)
    assert document.remarks == ("left out: 1 overfull paragraph's markup",)
    words = " ".join(piece.text for piece in document.pieces)
    assert "*" not in words
    assert words.endswith("And then.")
