"""Subtitles as people have them: rules broken, other formats, descriptions for the deaf."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlx_chatterbox.errors import TextError
from mlx_chatterbox.longform.readers import read_document
from mlx_chatterbox.longform.readers.sdh import without_sdh

CASES = Path(__file__).parents[1] / "data" / "documents"


@pytest.fixture
def read(tmp_path):
    def of(content, name="x.srt", **settings):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_document(path, **settings)

    return of


def said(document) -> list[tuple]:
    return [(piece.text, piece.start, piece.end) for piece in document.pieces]


def words(document) -> list[str]:
    return [piece.text for piece in document.pieces]


def test_without_blank_lines_no_times_are_read_aloud():
    found = read_document(CASES / "srt_noblank.srt")
    assert said(found) == [("Hello there now.", 1.0, 3.0), ("No blank line before.", 3.5, 5.0)]
    assert found.remarks == ()


def test_one_wrong_subtitle_is_reported_with_its_line_and_the_others_are_spoken():
    found = read_document(CASES / "srt_zero.srt")
    assert words(found) == ["The first line is good."]
    assert found.remarks == ("line 6: it ends when it begins: 'Zero long.' is left out",)


TIMES = "00:00:0{},000 --> 00:00:0{},500"
A, B, C = (TIMES.format(n, n) for n in (1, 2, 3))


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_line_ends_and_byte_order_marks(read, line_end, mark):
    text = f"1\n{A}\nOne.\n\n2\n{B}\nTwo.\n".replace("\n", line_end)
    assert words(read(mark + text.encode())) == ["One.", "Two."]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{A}\nOne.\n\n{B}\nTwo.", ["One.", "Two."]),
        (f"{A}\nOne.\n{B}\nTwo.", ["One.", "Two."]),
        (f"1\n{A}\n1984\n\n2\n{B}\nTwo.", ["1984", "Two."]),
        (f"1\n{A}\n1984\n2\n{B}\nTwo.", ["1984", "Two."]),
        (f"1\n{A}\n1984\n{B}\nTwo.", ["1984", "Two."]),
        (f"{A}\n1984\n{B}\nTwo.", ["1984", "Two."]),
        (f"{A}\nBorn in\n1984\n{B}\nTwo.", ["Born in 1984", "Two."]),
        (f"1\n{A}\n2\n{B}\nTwo.", ["Two."]),
        (f"1\n{A}\n\n2\n{B}\nTwo.", ["Two."]),
        (f"7\n{A}\nOne.\n\n\n\n3\n{B}\nTwo.", ["One.", "Two."]),
        (f"1\n{A}\nOne.\n\nMore.\n\n2\n{B}\nTwo.", ["One. More.", "Two."]),
        (f"1\n{A}\nOne.\n\n2\n{B}\n", ["One."]),
        (f"1\n\n{A}\nOne.\n2\n\n{B}\nTwo.", ["One.", "Two."]),
        (f"1\n{A}\n\n1984\n\n{B}\nTwo.", ["1984", "Two."]),
        (f"1\n{A}\nGo --> there.\n\n2\n{B}\nTwo.", ["Go --> there.", "Two."]),
    ],
)
def test_blank_lines_and_numbers_may_be_missing(read, text, expected):
    found = read(text)
    assert words(found) == expected
    assert found.remarks == ()


@pytest.mark.parametrize(
    ("times", "start", "end"),
    [
        ("00:00:01,5 --> 00:00:02,25", 1.5, 2.25),
        ("00:00:01.500 --> 00:00:02.250", 1.5, 2.25),
        ("00:00:01:500 --> 00:00:02:250", 1.5, 2.25),
        ("0:0:1,500-->0:0:2,250", 1.5, 2.25),
        ("  00:00:01,500   -->   00:00:02,250  X1:1 X2:9 Y1:2 Y2:3", 1.5, 2.25),
        ("00: 00: 01, 500 --> 00: 00: 02, 250", 1.5, 2.25),
        ("00:01.500 --> 00:02.250 align:start position:10%", 1.5, 2.25),
        ("00:00:01,500123 --> 00:00:02,250999", 1.5, 2.25),
        ("100:00:01,500 --> 100:00:02,250", 360001.5, 360002.25),
        ("00:00:01 --> 00:00:02", 1.0, 2.0),
    ],
)
def test_times_in_all_notations(read, times, start, end):
    assert said(read(f"1\n{times}\nOne.")) == [("One.", start, end)]


@pytest.mark.parametrize(
    ("times", "problem"),
    [
        ("-00:00:01,000 --> 00:00:02,000", "line 6 should be times"),
        ("00:00:01,000 00:00:02,000", "line 6 should be times"),
        ("00:00:xx,000 --> 00:00:02,000", "line 6 should be times"),
        ("00:00:01,000 -->", "line 6 should be times"),
        ("--> 00:00:02,000", "line 6 should be times"),
        ("00:00:05,000 --> 00:00:04,000", "line 6: it ends before it begins"),
        ("00:00:05,000 --> 00:00:05,000", "line 6: it ends when it begins"),
    ],
)
def test_wrong_times_cost_one_subtitle(read, times, problem):
    found = read(f"1\n{A}\nOne.\n\n2\n{times}\nWrong.\n\n3\n{C}\nThree.\n")
    assert words(found) == ["One.", "Three."]
    (remark,) = found.remarks
    assert remark.startswith(problem)
    assert remark.endswith("'Wrong.' is left out")


def test_many_wrong_subtitles_are_counted_and_all_wrong_ones_refused(read):
    wrong = "".join(f"{n}\n00:00:05,000 --> 00:00:04,000\nWrong.\n\n" for n in range(30))
    found = read(wrong + f"31\n{A}\nOne.")
    assert len(found.remarks) == 11
    assert found.remarks[-1] == "20 more subtitles have such problems"
    with pytest.raises(TextError, match="line 2: it ends before it begins"):
        read(wrong)


def test_text_before_the_first_times_is_reported(read):
    found = read(f"Downloaded from somewhere\n\n1\n{A}\nOne.")
    assert words(found) == ["One."]
    assert found.remarks == (
        "line 1: 'Downloaded from somewhere' stands before the first times and is left out",
    )


def test_overlapping_and_unordered_subtitles_come_by_their_times(read):
    text = (
        "1\n00:00:05,000 --> 00:00:09,000\nLast.\n\n2\n00:00:01,000 --> 00:00:06,000\nFirst.\n\n"
        "3\n00:00:02,000 --> 00:00:03,000\nSecond.\n"
    )
    assert words(read(text)) == ["First.", "Second.", "Last."]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{\\an8}Hello {\\i1}there{\\i0} now.", "Hello there now."),
        ('<font color="#fff">Hello</font> <b>there</b>.', "Hello there."),
        ("<v Roger Bingham>We are <c.loud.red>here</c>.</v>", "We are here."),
        ("<00:00:01.000><c>Never</c> <00:00:01.500><c>mind</c>.", "Never mind."),
        ("Tom &amp; Jerry &lt;i&gt;ran&lt;/i&gt;&nbsp;off.", "Tom & Jerry ran off."),
        ("♪ La la ♪", "La la"),
        ("# La la la #", "La la la"),
        ("- Yes?\n- No.", "Yes? No."),
        ("&gt;&gt; Good morning.", "Good morning."),
        ("One\\Ntwo\\hthree.", "One two three."),
        ("\u202bHello\u202c \u200ethere.", "Hello there."),
        ("{y:i}Hello.", "Hello."),
    ],
)
def test_markup_of_all_kinds(read, text, expected):
    assert words(read(f"1\n{A}\n{text}\n")) == [expected]


VTT = """\ufeffWEBVTT - A title
Kind: captions

STYLE
::cue(.red) { color: red }

NOTE
This is a note --> of somebody
00:00:09.000 --> 00:00:10.000

REGION
id:fred

intro
00:01.000 --> 00:02.500 line:0 position:20% align:start
<v Ann>Hello &amp; <i>welcome</i>.
NOTE is a word here.

3
01:00:00.000 --> 01:00:01.000
1984

NOTE one line

00:05.000 --> 00:06.000
<v.loud Bob>Yes.
"""


@pytest.mark.parametrize("name", ["x.vtt", "x.VTT", "x.srt"])
def test_web_vtt(read, name):
    found = read(VTT, name)
    assert said(found) == [
        ("Hello & welcome. NOTE is a word here.", 1.0, 2.5),
        ("Yes.", 5.0, 6.0),
        ("1984", 3600.0, 3601.0),
    ]
    assert found.remarks == ()


def test_a_vtt_without_subtitles_is_refused(read):
    with pytest.raises(TextError, match="should be times"):
        read("WEBVTT\n\nNOTE nothing\n", "x.vtt")


# For the deaf


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[door slams]", ""),
        ("(SIGHS)", ""),
        ("(sighs)", ""),
        ("- [man shouting\nin the distance]", ""),
        ("JOHN: Hello.", "Hello."),
        ("- JOHN: Hello.\n- MARY: Yes.", "Hello. Yes."),
        ("MAN #2: Hello.", "Hello."),
        ("DR. SMITH: Hello.", "Hello."),
        ("JOHN (on phone): Hello.", "Hello."),
        ("[JOHN]: Hello.", "Hello."),
        ("JOHN [whispering]: Hello.", "Hello."),
        (">> ANN: Hello.", "Hello."),
        ("JOHN:\nHello.", "Hello."),
        ("ÉMILE: Bonjour.", "Bonjour."),
        ("Hello. (SIGHS) Come in.", "Hello. Come in."),
        ("Hello. (sighs)", "Hello."),
        ("(laughing) Hello.", "Hello."),
        ("♪", ""),
        ("♪ ♪", ""),
        ("♪ [tense music] ♪", ""),
        ("♪ La la la\nla la la ♪", ""),
        ("# La la la #", ""),
        ("♪ La la ♪\nHello.", "Hello."),
        ("（ため息）こんにちは", "こんにちは"),
        # Spoken text stays.
        ("John: Hello.", "John: Hello."),
        ("At 10:30 we go.", "At 10:30 we go."),
        ("AT 10:30 WE GO.", "AT 10:30 WE GO."),
        ("He (the king) came.", "He (the king) came."),
        ("I said: no.", "I said: no."),
        ("Note: A is first.", "Note: A is first."),
    ],
)
def test_descriptions_for_the_deaf_are_left_out_on_demand(read, text, expected):
    found = read(f"1\n{A}\n{text}\n\n2\n{B}\nLast.", sdh=False)
    assert words(found) == [*([expected] if expected else []), "Last."]
    # Notes alone are not spoken without the option either.
    changed = expected != " ".join(text.split()) and any(map(str.isalpha, text))
    assert len(found.remarks) == changed
    assert all("descriptions of 1 subtitle left out" in remark for remark in found.remarks)


def test_subtitles_that_are_left_empty_are_counted(read):
    found = read(f"1\n{A}\n[door slams]\n\n2\n{B}\nJOHN: Yes.\n\n3\n{C}\nLast.", sdh=False)
    assert words(found) == ["Yes.", "Last."]
    assert found.remarks == (
        "--no-sdh: descriptions of 2 subtitles left out, of which 1 had nothing else",
    )


def test_hostile_lines_are_read_quickly():
    import time

    began = time.process_time()
    for part in ("(", "[", "♪", "A ", "- ", "1:", "<", "{", " ", "A:", "1 "):
        without_sdh(part * 20000)
    assert time.process_time() - began < 5


@pytest.mark.parametrize("part", ["1:", "0 ", "--> ", "1\n", "00:00:01,000\n", "<", " ", "1,"])
def test_hostile_files_are_read_quickly(read, part):
    import contextlib
    import time

    began = time.process_time()
    with contextlib.suppress(TextError):
        read(part * 20000)
    assert time.process_time() - began < 5


# Of other programs


@pytest.mark.parametrize(
    "arrow", ["->", "-- >", " - > ", "→", "==>", "->>", "--&gt;", "–>", "-->", "—>"]
)
def test_spellings_of_the_arrow(read, arrow):
    found = read(f"1\n00:00:01,000 {arrow} 00:00:02,500\nOne.\n")
    assert said(found) == [("One.", 1.0, 2.5)]
    assert found.remarks == ()


@pytest.mark.parametrize(
    "times", ["00:00:01;000 --> 00:00:02;500", "00.00.01,000 --> 00.00.02,500"]
)
def test_other_marks_within_times(read, times):
    assert said(read(f"1\n{times}\nOne.\n")) == [("One.", 1.0, 2.5)]


def test_negative_times_are_reported_wherever_they_stand(read):
    wrong = "-00:00:01,000 --> 00:00:02,000"
    first = read(f"1\n{wrong}\nWrong.\n\n2\n{C}\nThree.\n")
    later = read(f"1\n{A}\nOne.\n\n2\n{wrong}\nWrong.\n\n3\n{C}\nThree.\n")
    assert (words(first), words(later)) == (["Three."], ["One.", "Three."])
    assert first.remarks[0].startswith("line 2 should be times")
    assert later.remarks[0].startswith("line 6 should be times")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("< i >One</ i > two.", "One two."),
        ("<I>One</I> <!-- two --> <3", "One <3"),
        ("¶ Oh, say ¶", "Oh, say"),
        ("#singing along\nand on#", "singing along and on"),
        ("#1 and #2", "#1 and #2"),
        (">> Thank you. >> You too.", "Thank you. You too."),
        ("3 > 2 and 2 >> 1", "3 > 2 and 2 >> 1"),
    ],
)
def test_marks_that_are_not_spoken(read, text, expected):
    assert words(read(f"1\n{A}\n{text}\n")) == [expected]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("JOHN: Come. MARY: Stay.", "Come. Stay."),
        ("JOHN (V.O.): One. MAN #2 (on radio): Two.", "One. Two."),
        ("McCOY: He's dead. O'BRIEN: Yes.", "He's dead. Yes."),
        ("Dr. SMITH: Yes.", "Yes."),
        ("Mrs. Smith: Hi. Note: this is it.", "Mrs. Smith: Hi. Note: this is it."),
        ("*sighs* Oh. *door opens*", "Oh."),
        ("I *never* said so.", "I *never* said so."),
        ("¶ Oh, say ¶\nHello.", "Hello."),
        ("At 10:30 I left.", "At 10:30 I left."),
    ],
)
def test_more_descriptions_for_the_deaf(text, expected):
    assert " ".join(without_sdh(text).split()) == expected


@pytest.mark.parametrize("content", ["", " \n\n", "\ufeff\n"])
def test_empty_subtitles(read, content):
    with pytest.raises(TextError, match="nothing to speak"):
        read(content)


# Rolling subtitles

ROLLING = """WEBVTT

00:00:00.000 --> 00:00:02.000 align:start position:0%
 
hello<00:00:01.000><c> world</c>

00:00:02.000 --> 00:00:02.010 align:start position:0%
hello world
 

00:00:02.010 --> 00:00:04.000 align:start position:0%
hello world
how<00:00:03.000><c> are</c>

00:00:04.000 --> 00:00:04.010 align:start position:0%
how are
 

00:00:04.010 --> 00:00:06.000 align:start position:0%
how are
you
"""  # noqa: W293


def test_rolling_subtitles_are_spoken_once(read):
    found = read(ROLLING, "x.vtt")
    assert said(found) == [("hello world", 0.0, 2.0), ("how are", 2.01, 4.0), ("you", 4.01, 6.0)]
    assert found.remarks == (
        "rolling subtitles: 4 lines that are only shown again are spoken once",
    )


def test_repeated_speech_is_kept(read):
    times = [f"00:00:0{n}.000 --> 00:00:0{n + 1}.000" for n in range(1, 7)]
    spoken = ["No.", "No.", "Yes.", "Why?", "Why?", "So."]
    found = read(
        "WEBVTT\n\n" + "\n\n".join(map("\n".join, zip(times, spoken, strict=True))), "x.vtt"
    )
    assert words(found) == spoken
    assert found.remarks == ()
