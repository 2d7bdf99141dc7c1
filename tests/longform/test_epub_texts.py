"""The spoken text of an EPUB: exponents and notes, hidden text, drop caps, any encoding."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlx_chatterbox.errors import TextError
from mlx_chatterbox.longform.readers import read_document
from mlx_chatterbox.longform.readers.xhtml import xhtml_blocks
from tests.longform.epubs import page, write_epub

CASES = Path(__file__).parents[1] / "data" / "documents"


def spoken(document) -> str:
    return " ".join(piece.text for piece in document.pieces)


def text_of(body: str) -> str:
    """The words of a chapter's body, a line a block."""
    return "\n".join(" ".join(block.text.split()) for block in xhtml_blocks(body) if block.text)


@pytest.fixture
def read(tmp_path):
    def of(chapters, **settings):
        if isinstance(chapters, str):
            chapters = {"c.xhtml": chapters}
        return read_document(write_epub(tmp_path / "book.epub", chapters, **settings))

    return of


# Raised and lowered texts


def test_exponents_and_ordinals_of_a_book():
    assert spoken(read_document(CASES / "sup.epub")) == (
        "Chapter 1 Light moves 3 times 10^8 metres a second. The area is 50 m^2. It was the 1st of "
        "May, the 5th day. E = mc^2."
    )


def test_exponents_among_marks_of_notes():
    found = read_document(CASES / "sup2.epub")
    assert "One word two three four five six seven eight nine." in spoken(found)
    assert (
        "Mme Dupont, the XXe siecle, the 20th century, area is pi r^2, ion SO4 2-, v1, 2^10 bytes, "
        "10^-3." in spoken(found)
    )
    assert found.remarks == ("left out: 8 marks of notes",)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("x<sup>2</sup> + y<sup>2</sup>", "x^2 + y^2"),
        ("e<sup>-x</sup>", "e^-x"),
        ("2<sup>n</sup> ways, x<sup>n+1</sup>", "2^n ways, x^n+1"),
        ("6.02×10<sup>23</sup> atoms", "6.02×10^23 atoms"),
        ("1.05<sup>10</sup> is growth", "1.05^10 is growth"),
        ("9.8 m s<sup>−2</sup>", "9.8 m s^-2"),
        ("40 km<sup>2</sup>, 5 cm<sup>3</sup>, 3 ft<sup>2</sup>", "40 km^2, 5 cm^3, 3 ft^2"),
        ("1.2 kg/m<sup>3</sup>", "1.2 kg/m^3"),
        ("(a + b)<sup>2</sup>", "(a + b)^2"),
        ("sin<sup>2</sup> x", "sin^2 x"),
        ("an R<sup>2</sup> of 0.9", "an R^2 of 0.9"),
        ("10<sup><i>6</i></sup> cells", "10^6 cells"),
        ('10<span class="sup">6</span> cells', "10^6 cells"),
        ("H<sub>2</sub>O and CO<sub>2</sub>", "H2O and CO2"),
        ("Na<sup>+</sup> and Ca<sup>2+</sup>", "Na+ and Ca 2+"),
        ("20<sup>o</sup>C and 90<sup>o</sup> more", "20°C and 90° more"),
        # Digits other than decimal ones.
        ("x²<sup>o</sup> and ②<sup>o</sup> more", "x²o and ②o more"),
        ("at 7<sup>30</sup> p.m. for $5<sup>99</sup>", "at 7:30 p.m. for $5.99"),
        ("add 2<sup>1</sup>/<sub>2</sub> cups", "add 2 1/2 cups"),
        ("add <sup>3</sup>&frasl;<sub>4</sub> cup", "add 3/4 cup"),
        ("the 2<sup>nd</sup>, 3<sup>d</sup> and 1<sup>er</sup>", "the 2nd, 3d and 1er"),
        ("M<sup>r</sup> X, N<sup>o</sup> 5, S<sup>t</sup> Paul", "Mr X, No 5, St Paul"),
        ("Acme<sup>TM</sup> and Bolt<sup>®</sup>", "Acme™ and Bolt®"),
        ("<sup>14</sup>C is a carbon", "is a carbon"),
        ("the isotope <sup>14</sup>C decays", "the isotope 14C decays"),
        # Marks of notes.
        ("in 1984<sup>3</sup> he left", "in 1984 he left"),
        ("the 1990s<sup>2</sup> were, the king's<sup>3</sup>", "the 1990s were, the king's"),
        ("he said,”<sup>12</sup> and left.<sup>13</sup> Then", "he said,” and left. Then"),
        ("word<sup>1,2</sup> word<sup>3–5</sup> word<sup>a,b</sup>", "word word word"),
        ("word<sup>†</sup> word<sup>**</sup>", "word word"),
        ("one<sup>3</sup>, aged 25<sup>4</sup>, was", "one, aged 25, was"),
        ("cost $20<sup>2</sup> then", "cost $20 then"),
        ("sold 1,234<sup>2</sup> copies", "sold 1,234 copies"),
        ("(Smith)<sup>2</sup> and section 3(b)<sup>4</sup>", "(Smith) and section 3(b)"),
    ],
)
def test_what_is_raised_is_an_exponent_or_a_mark(written, expected):
    found = text_of(f"<p>So: {written} .</p>")
    assert found == f"So: {expected} ." or (expected == "is a carbon" and "C is a carbon" in found)


@pytest.mark.parametrize(
    "raised",
    ['<span style="font-size: 70%; vertical-align: super">{}</span>', '<span class="up">{}</span>',
     '<i class="up">{}</i>', '<span class="superscript">{}</span>'],
)  # fmt: skip
def test_what_a_style_raises_is_raised(raised):
    sheet = "<style>.up { vertical-align: super; font-size: small }</style>"
    body = f"{sheet}<p>It was 10{raised.format(8)} men{raised.format(3)} then.</p>"
    assert text_of(body) == "It was 10^8 men then."


# Notes


def test_notes_of_older_books_and_their_marks():
    found = read_document(CASES / "pgnotes.epub")
    assert spoken(found) == "CHAPTER I The king was old. He slept. He woke. He ate."
    assert [piece.chapter for piece in found.pieces] == ["CHAPTER I", None]
    assert found.remarks == ("left out: 2 notes, 4 marks of notes",)


STORY = "The king was old and slept for most of the day in the garden behind his house"
MAKES = {
    "epub:type": (
        f'{STORY}<a epub:type="noteref" href="#n1">1</a>. He woke.',
        '<aside epub:type="footnote" id="n1"><p>See the book.</p><p>And another.</p></aside>',
    ),
    "role": (
        f'{STORY}<sup><a role="doc-noteref" href="#n1">1</a></sup>. He woke.',
        '<section role="doc-endnotes"><h2>Endnotes</h2><ol><li id="n1" role="doc-endnote"><p>See '
        'the book. <a role="doc-backlink" href="#r1">↩</a></p></li></ol></section>',
    ),
    "rearnote": (
        f'{STORY}<a epub:type="noteref" href="#n1">*</a>. He woke.',
        '<div epub:type="rearnotes"><div epub:type="rearnote" id="n1"><p>See.</p></div></div>',
    ),
    "gutenberg sup": (
        f'{STORY}<a class="pginternal" href="#n1"><sup>1</sup></a>. He woke.',
        '<h3>NOTES</h3><p><a id="n1"></a>1 See the book of kings.</p>',
    ),
    "gutenberg brackets": (
        f'{STORY}<a id="r1"></a><a href="#f1" class="pginternal">[1]</a>. He woke.',
        '<p>FOOTNOTES:</p><p><a id="f1"></a><a href="#r1" class="pginternal">[1]</a> See the book '
        "of kings.</p>",
    ),
    "paragraphs that lead back": (
        f'{STORY}<a id="r1" href="#x1">1</a>. He woke.',
        '<p id="x1"><a href="#r1">1</a>. See the book of kings.</p>',
    ),
    "back by an arrow": (
        f'{STORY}<sup id="r1"><a href="#x1">1</a></sup>. He woke.',
        '<div><p id="x1">See the book of kings. <a href="#r1">↩</a></p></div>',
    ),
    "a list": (
        f'{STORY}<sup><a href="#x1">1</a></sup>. He woke.',
        '<hr/><ol><li id="x1">See the book of kings.</li></ol>',
    ),
    "word processor": (
        f'{STORY}<a href="#_ftn1" name="_ftnref1">[1]</a>. He woke.',
        '<div><p class="MsoFootnoteText"><a href="#_ftnref1" name="_ftn1">[1]</a> See.</p></div>',
    ),
    "several paragraphs": (
        f'{STORY}<sup><a href="#n1">1</a></sup>. He woke<sup><a href="#n2">2</a></sup>.',
        '<div><h4>Notes</h4><p id="n1">1. See the book.</p><p>It is long.</p><p id="n2">2. That '
        "too.</p></div>",
    ),
    "terms and what they mean": (
        f'{STORY}<sup><a href="#x1">1</a></sup>. He woke.',
        '<h3>Endnotes</h3><dl><dt id="x1">1</dt><dd>See the book of kings.</dd></dl>',
    ),
    "terms without a heading": (
        f'{STORY}<sup><a href="#x1">1</a></sup>. He woke.',
        '<dl><dt><a id="x1">[1]</a></dt><dd>See the book of kings.</dd></dl>',
    ),
    "small print": (
        f'{STORY}<a href="#x1">*</a>. He woke.',
        '<p><small><a id="x1"></a>* See the book of kings.</small></p>',
    ),
    "InDesign": (
        f'{STORY}<a class="_idFootnoteLink" id="r1" href="#fn-1">1</a>. He woke.',
        '<div class="_idFootnotes"><div id="fn-1" class="_idFootnote"><p><a href="#r1">1</a> See '
        "the book of kings.</p></div></div>",
    ),
    "without a link": (
        f"{STORY}<sup>1</sup>. He woke.",
        "<h3>Footnotes</h3><p>1. See the book of kings.</p><p>2. And more.</p>",
    ),
}


@pytest.mark.parametrize("make", MAKES)
@pytest.mark.parametrize("where", ["here", "in a file of its own", "aside"])
def test_notes_in_the_markup_of_many_publishers(read, make, where):
    text, notes = MAKES[make]
    chapters = {"a.xhtml": f"<h2>One</h2><p>{text}</p>", "b.xhtml": f"<h2>Two</h2><p>{STORY}.</p>"}
    if where == "here":
        chapters["a.xhtml"] += notes
        found = read(chapters)
    else:
        chapters["a.xhtml"] = chapters["a.xhtml"].replace('href="#', 'href="n.xhtml#')
        chapters["n.xhtml"] = notes.replace('href="#', 'href="a.xhtml#')
        found = read(chapters, aside=["n.xhtml"] if where == "aside" else ())
    assert spoken(found) == f"One {STORY}. He woke. Two {STORY}."
    assert [piece.chapter for piece in found.pieces if piece.chapter] == ["One", "Two"]
    assert found.remarks


def test_notes_in_brackets(read):
    """Notes of Project Gutenberg's oldest books, in one paragraph or several."""
    body = (
        f"<p>{STORY}[1]. He woke [A].</p><p>[Footnote 1: See the book.]</p><p>[Footnote A: See "
        "[this].</p><p>And that.]</p><p>He ate.</p>"
    )
    found = read(body)
    assert spoken(found) == f"{STORY}. He woke. He ate."
    assert found.remarks == ("left out: 2 notes",)
    # Without such notes brackets belong to the text.
    assert "[1]" in spoken(read("<p>He woke[1] and slept.</p>"))


@pytest.mark.parametrize(
    "body",
    [
        '<p>See chapter <a href="#c2">2</a> and (<a href="#c2">2</a>).</p><h2 id="c2">2 Home</h2>',
        '<p>Read <a href="#x">this</a> now.</p><p id="x">This is it.</p>',
        '<p>As in example (<a href="#e3">3</a>).</p><p id="e3">(3) John saw Mary.</p>',
        '<p>Turn to pages 12, <a href="#p">13</a>.</p><p><a id="p"></a>Thirteen men came.</p>',
        '<p class="note">Note: this is no footnote.</p>',
        "<h2>Notes from the underground</h2><p>I am a sick man.</p>",
        "<h2>Notes</h2><p>He took notes of everything that he saw.</p>",
    ],
)
def test_what_is_not_a_note_is_kept(read, body):
    import re

    words = re.findall(r"\w+", re.sub("<[^>]*>", " ", body))
    assert re.findall(r"\w+", spoken(read(body))) == words


def test_notes_by_chapters_lose_their_headings(read):
    chapters = {
        f"c{n}.xhtml": f'<h2>Chapter {n}</h2><p>{STORY}<sup><a href="n.xhtml#n{n}">1</a></sup>.</p>'
        for n in (1, 2)
    }
    chapters["n.xhtml"] = "<h1>Notes to the text</h1>" + "".join(
        f'<h2>Chapter {n}</h2><p id="n{n}"><a href="c{n}.xhtml">1</a>. See the book.</p>'
        for n in (1, 2)
    )
    found = read(chapters)
    assert [piece.chapter for piece in found.pieces if piece.chapter] == ["Chapter 1", "Chapter 2"]
    assert "See the book" not in spoken(found)


# Hidden text


def test_hidden_text_is_not_spoken():
    found = read_document(CASES / "structure.epub")
    assert "Hidden" not in spoken(found)
    assert "Page thirteen. 漢" in spoken(found)
    assert "12" not in spoken(found)
    assert found.remarks == ("left out: 2 hidden passages, 1 table, 1 passage of code, 1 picture",)


@pytest.mark.parametrize(
    "hidden",
    [
        "<p hidden>No.</p>",
        '<p style="color: red; DISPLAY : none !important">No.</p>',
        '<p style="visibility:hidden">No.</p>',
        '<div class="a gone"><p>No.</p></div>',
        '<p class="shown-not">No.</p>',
        '<p id="secret">No.</p>',
        '<div class="box"><p>No.</p></div>',
        '<div class="imported">No.</div>',
        '<p aria-hidden="true">No.</p>',
        "<template><p>No.</p></template><noscript>No.</noscript>",
        '<p title="No.">Yes.</p><img src="x.png" alt="No." title="No."/>',
        '<span class="pagenum">[Pg 12]</span><a class="pageno" id="p">13</a>',
        '<span role="doc-pagebreak">12</span>',
        '<span class="linenum">10</span>',
        "<rt>No.</rt><select hidden><option>No.</option></select>",
    ],
)
def test_every_way_of_hiding_text(read, hidden):
    sheet = """@charset "utf-8"; @import url("more.css"); /* .yes { display: none } */
    .gone, .other > b { display: none }  p.shown-not{visibility:hidden}
    #secret { display:none } div.box > p { display: none; }
    @media print { .yes { display: none } }  @media amzn-kf8 { p { display: none } }
    p:first-child, p::before, .yes + p { display: none } .yes { display: none }
    body .yes { display: block }"""
    head = '<link rel="stylesheet" href="x.css"/><style>.sheet{display:none}</style>'
    body = f'<p class="yes">Yes.</p>{hidden}<p class="sheet">No.</p><p>Good bye.</p>'
    files = {"x.css": sheet, "more.css": "div.imported { display: none }"}
    found = spoken(read({"c.xhtml": page(body, head).encode()}, files=files))
    assert found.replace("Yes. Yes.", "Yes.") == "Yes. Good bye."


def test_style_sheets_outside_the_book_are_not_read(read, tmp_path):
    (tmp_path / "evil.css").write_text("p { display: none }")
    for address in ("../../../evil.css", f"file://{tmp_path}/evil.css", f"{tmp_path}/evil.css"):
        head = f'<link rel="stylesheet" href="{address}"/>'
        assert spoken(read({"c.xhtml": page("<p>Yes.</p>", head).encode()})) == "Yes."


# Drop caps


def test_a_drop_cap_that_is_a_picture_keeps_its_letter():
    assert spoken(read_document(CASES / "dropcap.epub")) == (
        "Chapter 1 Once upon a time there was an information desk. The end of it. THE NIGHT WAS "
        "cold."
    )


@pytest.mark.parametrize(
    "written",
    [
        '<p><img src="t.png" alt="T"/>he night.</p>',
        '<p><img src="t.png" alt="“T"/>he night.</p>',
        '<p><img src="t.png" alt="Drop cap T"/>he night.</p>',
        '<p><img src="t.png" alt="Illuminated letter: T"/>he night.</p>',
        '<p><img src="t.png" alt="T"/>\n  he night.</p>',
        '<div class="figleft"><img src="t.png" alt="T"/></div>\n<p>he night.</p>',
        '<p><img src="t.png" alt="T"/>The night.</p>',
        '<p><span><img src="t.png" alt="T"/></span><span class="sc">he</span> night.</p>',
        '<p class="dropcap"><img src="images/drop-t.png" alt=""/>he night.</p>',
        '<p><svg aria-label="T"><path d=""/></svg>he night.</p>',
        "<p><svg><text>T</text></svg>he night.</p>",
        "<p><span>T</span>he night.</p>",
        '<p><span aria-hidden="true">T</span>he night.</p>',
        '<p><span class="dropcap">T</span>\n <span>he</span> night.</p>',
        '<p><span aria-hidden="true">T</span><span class="sr">The</span> night.</p>',
    ],
)
def test_drop_caps_in_the_markup_of_many_publishers(written):
    assert text_of(written).replace("“", "") == "The night."


def test_a_picture_that_may_be_a_letter_is_reported(read):
    found = read('<p><img src="images/i012.jpg" alt=""/>he night.</p>')
    assert found.remarks == ("left out: 1 picture that may be the first letter of a word",)


def test_letters_that_are_words_keep_their_space():
    assert text_of('<p><img alt="A"/> long time ago.</p>') == "A long time ago."
    assert text_of('<p><img alt="A"/> fter that.</p>') == "After that."
    assert text_of('<p>Vitamin <img alt="C"/> is good.</p>') == "Vitamin C is good."
    assert text_of('<p><img alt="a map"/>It was.</p>') == "It was."


# Encodings


def test_an_undeclared_encoding_is_guessed_and_reported():
    found = read_document(CASES / "nodecl.epub")
    assert spoken(found) == "Café “Naïve” résumé — text."
    (remark,) = found.remarks
    assert "OEBPS/c1.xhtml not in UTF-8" in remark
    assert "windows-1252" in remark


@pytest.mark.parametrize(
    ("encoding", "declaration", "text", "language"),
    [
        ("cp1252", "", "“Größe” – Café", "de"),
        ("cp1252", '<?xml version="1.0" encoding="windows-1252"?>', "“Größe”", "de"),
        ("cp1252", '<?xml version="1.0" encoding="utf-8"?>', "“Größe”", "de"),
        ("cp1252", "<?xml version='1.0' encoding='iso-8859-1'?>", "“Größe”", "de"),
        ("latin-1", "<?xml version='1.0' encoding='iso-8859-1'?>", "Größe", "de"),
        ("utf-8", "<?xml version='1.0' encoding='iso-8859-1'?>", "“Größe”", "de"),
        ("utf-16", '<?xml version="1.0" encoding="utf-16"?>', "“Größe”", "de"),
        ("utf-16-le", '<?xml version="1.0" encoding="utf-16"?>', "“Größe”", "de"),
        ("utf-16-be", "", "“Größe”", "de"),
        ("cp1251", "", "Мастер и Маргарита", "ru"),
        ("cp1251", '<meta charset="windows-1251"/>', "Мастер и Маргарита", "en"),
        ("koi8-r", '<?xml version="1.0" encoding="koi8-r"?>', "Мастер", "ru"),
        ("cp1250", "", "Příliš žluťoučký kůň", "cs"),
        ("cp932", '<?xml version="1.0" encoding="Shift_JIS"?>', "日本語の本", "ja"),
        ("cp1252", '<?xml version="1.0" encoding="punycode"?>', "“Größe”", "de"),
    ],
)
def test_encodings(read, encoding, declaration, text, language):
    markup = declaration.replace("<meta", "<html><head><meta").replace("/>", "/></head>")
    if "<html>" not in markup:
        markup += "<html>"
    content = f"{markup}<body><p>{text}.</p></body></html>"
    found = read({"c.xhtml": content.encode(encoding)}, language=language)
    assert spoken(found) == f"{text}."


def test_a_few_bytes_of_another_encoding_are_read_in_it(read):
    content = "<html><body><p>Größe, Café, naïve – ".encode() + "“so”".encode("cp1252")
    found = read({"c.xhtml": content + b"</p></body></html>"})
    assert spoken(found) == "Größe, Café, naïve – “so”."
    assert "UTF-8 and windows-1252 mixed" in found.remarks[0]


def test_entities_of_html_in_the_book_s_own_files(read):
    found = read(
        {"c.xhtml": "<p>Caf&eacute;&nbsp;&mdash; &hellip;</p>"},
        metadata="<dc:creator>Ann&nbsp;M&uuml;ller &amp; Co.</dc:creator>",
        contents=[("c.xhtml", "Caf&eacute; &lt;House&gt;")],
    )
    assert found.author == "Ann Müller & Co."
    assert found.pieces[0].chapter == "Café <House>"


# The rest


def test_blocks_of_all_kinds():
    body = (
        "Text in the body.<div>Outer<p>Inner</p>Tail</div><ul><li>Milk<ul><li>Skimmed</li></ul>"
        "</li><li>Eggs</li></ul><dl><dt>Term</dt><dd>What it is</dd></dl>"
        '<div class="poem"><p>Roses are red,<br/>violets are blue.</p></div>soft&#173;ly'
    )
    assert text_of(body).replace("\xad", "") == (
        "Text in the body.\nOuter\nInner\nTail\nMilk\nSkimmed\nEggs\nTerm\nWhat it is\n"
        "Roses are red, violets are blue.\nsoftly"
    )


def test_text_of_project_gutenberg_is_left_out(read):
    body = (
        '<section class="pg-boilerplate" id="pg-header"><h2>The Project Gutenberg eBook</h2>'
        f"</section><h2>Chapter 1</h2><p>{STORY}.</p>"
    )
    found = read(body)
    assert spoken(found) == f"Chapter 1 {STORY}."
    assert "Project Gutenberg's own" in found.remarks[0]


def test_a_chapter_of_too_many_elements_is_refused(read, monkeypatch):
    from mlx_chatterbox.longform.readers import markup

    monkeypatch.setattr(markup, "MOST_ELEMENTS", 100)
    with pytest.raises(TextError, match=r"c\.xhtml: it has more than 100 elements"):
        read("<p>a</p>" * 200)


@pytest.mark.parametrize(
    "part",
    [
        "<i>",
        "<p>",
        "<sup>1</sup>",
        '<a href="#x">1</a>',
        '<a href="#x" id="x">',
        '<sup><a href="#x">1</a>',
        '<p class="a b c"><i id="y">t</i></p>',
        "<h1>Notes</h1>",
        '<img alt="T"/>',
        "</p></i>",
        '<div><p id="x">1 a</p>',
    ],
)
@pytest.mark.slow
def test_hostile_chapters_take_linear_time(part):
    import time

    def seconds(count):
        sheet = "<style>" + ".a .b .c i, #y { display: none }" * 10 + "</style>"
        best = 1e9
        for _ in range(2):
            began = time.process_time()
            xhtml_blocks(sheet + part * count)
            best = min(best, time.process_time() - began)
        return best

    few = seconds(2000)
    # Linear is 4; the square would be 16.
    assert seconds(8000) < max(9 * few, 0.5)
