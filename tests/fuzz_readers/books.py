"""Texts to speak: plain, Markdown, EPUB, subtitles, tables, lexicons."""
# ruff: noqa: E501

from __future__ import annotations

import io
import random
import zipfile
from pathlib import Path

from tests.fuzz_damage import damage_bytes, damage_text
from tests.fuzzing import Reader

_STORY = 'It was late. "Who\'s there?" asked Mr. Smith, at 10:30 -- he heard [pause 1s] nothing.\n'


def read(path: Path) -> None:
    from mlx_chatterbox.longform.readers import read_document

    read_document(path, "en", 200)


def read_without_sounds(path: Path) -> None:
    from mlx_chatterbox.longform.readers import read_document

    read_document(path, "en", 200, sdh=False)


def read_table(path: Path) -> None:
    from mlx_chatterbox.longform.rows import read_rows

    for row in read_rows(path, path.parent / "out", None, "en", "wav"):
        if not row.problem:
            row.document(200)


def read_lexicon(path: Path) -> None:
    from mlx_chatterbox.text.respelling import Respelling

    Respelling.read(path)(_STORY * 3)


def plain() -> list[bytes]:
    text = (
        f"CHAPTER I.\n\n{_STORY * 3}\n\n12\n\nChapter 2\n\nNo. 5, J. R. Smith \u2014 50 % of it.\n"
    )
    return [text.encode(), text.encode("utf-16"), "Größe: café, naïve.\n".encode("cp1252") * 9]


def markdown() -> list[bytes]:
    text = (
        f"---\ntitle: A Book\nauthor: Ann\n---\n\n# One\n\n{_STORY}\n* a *b* **c**\n1. [d](http://e)\n\n"
        f"> {_STORY}\n```\ncode\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n![x](y.png) &amp; <b>f</b>[^1]\n"
        f"\n[^1]: a note\n\n## Two\n\n{_STORY}"
    )
    return [text.encode()]


def srt() -> list[bytes]:
    cues = [
        f"{n}\n00:00:{n:02},000 --> 00:00:{n + 1:02},500\n<i>- {_STORY.strip()}</i>\n(DOOR) JOHN: No.\n"
        for n in range(1, 6)
    ]
    return ["\n".join(cues).encode(), "\r\n".join(cues).encode("utf-16")]


def vtt() -> list[bytes]:
    head = "WEBVTT - x\nKind: captions\n\nSTYLE\n::cue {color: red}\n\nNOTE a remark\n\n"
    cues = "".join(
        f"id{n}\n00:0{n}.000 --> 00:0{n + 1}.000 align:start\n<v Ann>word<00:00:01.500><c> two</c>\n\n"
        for n in range(1, 6)
    )
    return [(head + cues).encode()]


def tables() -> list[bytes]:
    rows = 'text,language,output,speed\n"a, ""b""",en,a.wav,1.2\nHello there.,,sub/b.flac,\n'
    return [rows.encode(), ("sep=;\n" + rows.replace(",", ";")).encode("cp1252")]


def lexicons() -> list[bytes]:
    return [b"# names\nSiobhan\tshivawn\nNew York\tnoo york\n=US\tyou ess\nlate\tlayt\n"]


# --- EPUB ----------------------------------------------------------------------------------------

_CONTAINER = (
    '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
    '<rootfile full-path="b/book.opf"/></rootfiles></container>'
)
_PACKAGE = (
    '<?xml version="1.0" encoding="UTF-8"?><package xmlns="http://www.idpf.org/2007/opf"><metadata '
    'xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>T</dc:title><dc:creator>A</dc:creator>'
    '<dc:language>en</dc:language><meta name="cover" content="pic"/></metadata><manifest>'
    '<item id="nav" href="nav.xhtml" properties="nav" media-type="application/xhtml+xml"/>'
    '<item id="ncx" href="toc.ncx" media-type="application/x-dtbncx+xml"/>'
    '<item id="a" href="a.xhtml" media-type="application/xhtml+xml"/>'
    '<item id="b" href="b.xhtml" media-type="application/xhtml+xml"/>'
    '<item id="css" href="s.css" media-type="text/css"/>'
    '<item id="pic" href="c.png" media-type="image/png"/></manifest>'
    '<spine toc="ncx"><itemref idref="a"/><itemref idref="b"/></spine></package>'
)
_FILES = {
    "mimetype": "application/epub+zip",
    "META-INF/container.xml": _CONTAINER,
    "b/book.opf": _PACKAGE,
    "b/nav.xhtml": '<nav epub:type="toc"><ol><li><a href="a.xhtml#x">One</a></li></ol></nav>',
    "b/toc.ncx": "<ncx><navMap><navPoint><navLabel><text>One</text></navLabel>"
    '<content src="a.xhtml"/></navPoint></navMap></ncx>',
    "b/a.xhtml": '<?xml version="1.0" encoding="utf-8"?><html><head><link rel="stylesheet" '
    'href="s.css"/><style>.h{display:none}</style></head><body><h1 id="x">One</h1>'
    f'<p><span class="dropcap">I</span>t <i>was</i> late.<a href="#n1"><sup>1</sup></a> {_STORY}</p>'
    '<table><tr><td>a</td></tr></table><hr/><!-- c --><p class="h">no</p><svg><text>A</text></svg>'
    '<ol><li id="n1"><a href="#x">1</a> A note &amp; more.</li></ol></body></html>',
    "b/b.xhtml": f"<html><body><h2>II</h2><p>{_STORY}</p><p>10<sup>2</sup> m<br/>x</p></body></html>",
    "b/s.css": '@import "t.css"; p.n{vertical-align:super} @media print{p{display:none}}',
    "b/c.png": "\u0089PNG",
}


def epubs() -> list[bytes]:
    return [_zipped({name: text.encode() for name, text in _FILES.items()})]


def _zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return file.getvalue()


def damage_member(rng: random.Random, content: bytes) -> bytes:
    """Damage of a file within an archive that stays valid zip, or other packing."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            files = {name: archive.read(name) for name in archive.namelist()}
    except Exception:
        return damage_bytes(rng, content)
    name = rng.choice(list(files))
    kind = rng.randrange(8)
    if kind == 0:
        del files[name]
    elif kind == 1:
        files[rng.choice(("../x", "/x", "x" * 300, "b\\a.xhtml", ""))] = files.pop(name)
    elif kind == 2:
        files[name] = rng.choice(_ODD) * rng.choice((1, 10, 20_000))
    elif kind == 3:
        at = rng.randrange(len(files[name]) + 1)
        odd = rng.choice(_ODD) * rng.choice((1, 3, 5000))
        files[name] = files[name][:at] + odd + files[name][at:]
    elif kind == 4:
        files[name] = (
            files[name]
            .replace(
                b'encoding="UTF-8"', rng.choice((b'encoding="zlib"', b'encoding="windows-1259"'))
            )
            .decode("utf-8", "replace")
            .encode(rng.choice(("utf-8", "utf-16", "utf-7")))
        )
    else:
        files[name] = (damage_text if rng.random() < 0.7 else damage_bytes)(rng, files[name])
    methods = (zipfile.ZIP_DEFLATED,) * 6 + (
        zipfile.ZIP_STORED,
        zipfile.ZIP_BZIP2,
        zipfile.ZIP_LZMA,
    )
    return _zipped(files, rng.choice(methods))


_ODD = (
    b"<p>", b"</p>", b"<![x]>", b"<![CDATA[", b"<!DOCTYPE x [", b"<!ENTITY a 'b'>", b"&a;", b"&#x110000;",
    b"<a href='#x'>", b"<p class='x' id='x'>", b"<style>", b"<script>", b"<table><tr><td>", b"<li>",
    b"<itemref idref='a'/>", b"<item id='a' href='a.xhtml' media-type='text/html'/>", b"<h1>", b"<!--",
    b"<?x", b"<svg>", b"<sup>1</sup>", b"p{display:none}", b"\x00", b"\xff\xfe", b"\xed\xa0\x80", b" ", b".",
)  # fmt: skip

_TEXT = (damage_text, damage_text, damage_bytes)

READERS = (
    Reader("plain", read, plain, _TEXT, ".txt"),
    Reader("markdown", read, markdown, _TEXT, ".md"),
    Reader("srt", read, srt, _TEXT, ".srt"),
    Reader("srt-no-sdh", read_without_sounds, srt, _TEXT, ".srt", quick=0),
    Reader("vtt", read, vtt, _TEXT, ".vtt"),
    Reader("csv", read_table, tables, _TEXT, ".csv"),
    Reader("respelling", read_lexicon, lexicons, _TEXT, ".tsv"),
    Reader("epub", read, epubs, (damage_member, damage_member, damage_bytes), ".epub"),
)
