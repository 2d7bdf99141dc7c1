"""Chapters from the command line: listed without a model, spoken alone as in the whole."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from mlx_chatterbox.errors import SettingError
from mlx_chatterbox.generate import main
from mlx_chatterbox.longform.book import job_folder, speak_document
from mlx_chatterbox.longform.chapters import chapters_of, choose, spans
from mlx_chatterbox.longform.plan import Document, Piece
from mlx_chatterbox.longform.readers import read_document
from tests.longform.epubs import write_epub
from tests.longform.job_stub import StubTTS

STORY = "The old house stood at the end of the road, and nobody had lived in it for many years."
TEXT = f"Before.\n\nChapter 1\n\n{STORY}\n\nChapter 2\n\n{STORY} {STORY}\n\nChapter 3\n\nThe end."
MARKDOWN = f"Before.\n\n# One\n\n{STORY}\n\n# Two\n\n{STORY} {STORY}\n\n# Three\n\nThe end."


def files(folder: Path) -> list[Path]:
    (folder / "book.txt").write_text(TEXT)
    (folder / "book.md").write_text(MARKDOWN)
    bodies = [f"<p>{STORY}</p>", f"<p>{STORY} {STORY}</p>", "<p>The end.</p>"]
    chapters = {"c0.xhtml": "<p>Before.</p>"}
    chapters |= {f"c{n}.xhtml": f"<h1>Chapter {n}</h1>{body}" for n, body in enumerate(bodies, 1)}
    write_epub(folder / "book.epub", chapters)
    return [folder / f"book.{ending}" for ending in ("txt", "md", "epub")]


def test_chapters_are_listed_without_a_model(tmp_path, capsys, monkeypatch):
    from mlx_chatterbox import generate

    monkeypatch.setattr(generate, "choose_model", None)
    monkeypatch.setitem(sys.modules, "mlx_chatterbox.api.tts", None)
    for path in files(tmp_path):
        assert main(["--file", str(path), "--list-chapters"]) == 0
        out = capsys.readouterr().out
        head, before, one, two, three, together = out.splitlines()
        assert head.split() == ["no.", "words", "minutes", "title"]
        assert before.split()[0] == "1"
        assert one.split()[:3] == ["2", "20" if path.suffix == ".md" else "21", "0.1"]
        assert one.split(maxsplit=3)[3] in ("Chapter 1", "One")
        assert two.split()[2] == "0.2"
        assert three.split()[0] == "4"
        assert together.split()[0] == "all"
        assert int(together.split()[1]) == sum(
            int(line.split()[1]) for line in (before, one, two, three)
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "book.epub", "book.md", "book.txt",
    ]  # fmt: skip


def test_characters_are_counted_where_words_have_no_spaces():
    (one,) = chapters_of(Document("T", None, [Piece("今日は、いい天気です。")]))
    assert one.words == 9
    assert one.title == "T"


def test_some_chapters_are_those_of_the_whole(tmp_path):
    for path in files(tmp_path):
        whole = read_document(path)
        found = choose(whole, [4, 2, 2], path.name)
        assert found.chapters == (2, 4)
        assert [piece.chapter for piece in found.pieces if piece.chapter] in (
            ["Chapter 1", "Chapter 3"],
            ["One", "Three"],
        )
        assert [piece.text for piece in found.pieces][-1] == "The end."
        assert choose(whole, [1], path.name).pieces == [Piece("Before.")]


@pytest.mark.parametrize(
    ("numbers", "message"),
    [([5], "--chapters 5: x has 4 chapters, 1 to 4"), ([0, 2, 7, 8], "--chapters 0,7-8: x has 4")],
)
def test_missing_chapters_are_named(tmp_path, numbers, message):
    with pytest.raises(SettingError, match=message):
        choose(read_document(files(tmp_path)[0]), numbers, "x")
    with pytest.raises(SettingError, match="x has 1 chapter "):
        choose(Document(pieces=[Piece("One.")]), [2], "x")


def test_numbers_are_shown_as_they_are_written():
    assert spans([2, 3, 4, 5, 8]) == "2-5,8"
    assert spans([1]) == "1"


def manifest_of(output: Path) -> dict:
    return json.loads((job_folder(output) / "manifest.json").read_text())


def test_pieces_of_a_chapter_serve_the_whole_book(tmp_path):
    """A sentence in two chapters has its own seed in each, whichever chapters are chosen."""
    pieces = [
        Piece("One.", chapter="One"), Piece("Again and again."),
        Piece("Two.", chapter="Two"), Piece("Again and again."), Piece("Last."),
    ]  # fmt: skip
    book, output = Document("T", None, pieces), tmp_path / "out.wav"
    tts = StubTTS(tmp_path / "model")
    first = speak_document(tts, choose(book, [2], "x"), output, seed=1)
    assert tts.texts == ["Two.", "Again and again.", "Last."]
    assert manifest_of(output)["chapters"] == [2]
    assert [piece["number"] for piece in manifest_of(output)["pieces"]] == [1, 2, 3]
    alone = {piece["key"] for piece in manifest_of(output)["pieces"]}
    assert first.replaced is None

    tts = StubTTS(tmp_path / "model")
    second = speak_document(tts, book, output)
    assert tts.sounded == ["One.", "Again and again."]
    assert second.replaced == [2]
    assert "chapters" not in manifest_of(output)
    assert alone < {piece["key"] for piece in manifest_of(output)["pieces"]}

    # Choosing some chapters keeps the pieces of the others.
    tts = StubTTS(tmp_path / "model")
    assert speak_document(tts, choose(book, [1], "x"), output).replaced == []
    assert speak_document(tts, book, output).replaced == [1]
    assert tts.said == []


def test_redo_counts_within_the_chosen_chapters(tmp_path):
    pieces = [Piece("One.", chapter="One"), Piece("Two.", chapter="Two"), Piece("Last.")]
    book, output = choose(Document("T", None, pieces), [2], "x"), tmp_path / "out.wav"
    tts = StubTTS(tmp_path / "model")
    speak_document(tts, book, output, seed=1)
    speak_document(tts, book, output, redo=[2])
    assert tts.texts == ["Two.", "Last.", "Last."]


@pytest.fixture
def speak(small_checkpoint, recording_file, tmp_path, capsys):
    def run(*arguments):
        words = ["--model", small_checkpoint, "--max-new-tokens", 6, "--cfm-steps", 2]
        words += ["--voice", recording_file, "--seed", 1, *arguments]
        code = main([str(word) for word in words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    run.folder = tmp_path
    return run


def test_chapters_from_the_command_line(speak):
    epub = files(speak.folder)[2]
    output = speak.folder / "out.wav"
    code, _, err = speak("--file", epub, "--output", output, "--chapters", "2,4")
    assert code == 0, err
    found = manifest_of(output)
    assert found["chapters"] == [2, 4]
    assert [p["chapter"] for p in found["pieces"] if "chapter" in p] == ["Chapter 1", "Chapter 3"]
    code, _, err = speak("--file", epub, "--output", output, "--chapters", "4")
    assert code == 0
    assert f"{output} had chapters 2,4 before, and was overwritten" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--file", "book.txt", "--chapters", "9"], "book.txt has 4 chapters, 1 to 4"),
        (["--text", "Hello.", "--chapters", "1"], "--chapters is for books"),
        (["--text", "Hello.", "--list-chapters"], "--list-chapters is for books"),
        (["--batch", ".", "--output-dir", "o", "--chapters", "1"], "--chapters is for books"),
        (["--batch", ".", "--output-dir", "o", "--list-chapters"], "--list-chapters is for books"),
        (["--file", "x.srt", "--chapters", "1"], "subtitles have no chapters"),
        (["--file", "x.vtt", "--list-chapters"], "subtitles have no chapters"),
        (["--file", "book.txt", "--list-chapters", "--chapters", "1"], "leave out --chapters"),
        (["--file", "book.txt", "--no-sdh"], "--no-sdh is for subtitles"),
        (["--text", "Hello.", "--no-sdh"], "--no-sdh is for subtitles"),
        (["--file", "x.vtt", "--stream"], "--stream cannot"),
        (["--file", "no.txt", "--list-chapters"], "there is no file no.txt"),
    ],
)
def test_wrong_use_is_reported_before_the_model_is_loaded(speak, monkeypatch, arguments, message):
    from mlx_chatterbox.api import tts

    files(speak.folder)
    (speak.folder / "x.srt").write_text("1\n00:00:00,000 --> 00:00:02,000\nOne two.\n")
    (speak.folder / "x.vtt").write_text("WEBVTT\n\n00:00.000 --> 00:02.000\nOne two.\n")
    monkeypatch.chdir(speak.folder)
    monkeypatch.setattr(tts, "open_model", None)
    code, out, err = speak(*arguments)
    assert (code, out) == (1, "")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("numbers", ["x", "1,", "3-", "5-2", "1-9999999999"])
def test_invalid_chapter_numbers_are_refused(speak, numbers, capsys):
    with pytest.raises(SystemExit) as exit_:
        speak("--file", files(speak.folder)[0], f"--chapters={numbers}")
    assert exit_.value.code == 2
    assert "argument --chapters" in capsys.readouterr().err


# Subtitles, and omissions from documents, reported on standard error


def test_omissions_are_reported(speak):
    path = speak.folder / "x.vtt"
    path.write_text(
        "WEBVTT\n\n00:01.000 --> 00:01.000\nNever.\n\n"
        "00:02.000 --> 00:09.000\n[BANG]\nANN: Hello.\n"
    )
    code, _, err = speak("--file", path, "--output", speak.folder / "out.wav", "--no-sdh")
    assert code == 0, err
    assert "x.vtt: line 3: it ends when it begins: 'Never.' is left out\n" in err
    assert "x.vtt: --no-sdh: descriptions of 1 subtitle left out" in err
    (piece,) = manifest_of(speak.folder / "out.wav")["pieces"]
    assert (piece["text"], piece["late"], piece["overrun"]) == ("Hello.", 0, 0)


class SlowTTS(StubTTS):
    """Says everything in three seconds."""

    def generate_batch(self, texts, *, finished, **settings):
        import numpy as np

        def longer(index, waveform, outcomes):
            noise = np.random.default_rng(1).standard_normal(3 * self.sr) * 0.1
            finished(index, noise.astype(np.float32), outcomes)

        super().generate_batch(texts, finished=longer, **settings)


def test_speech_that_overruns_its_slot_reports_by_how_much(tmp_path):
    case = Path(__file__).parents[1] / "data" / "documents" / "srt_short.srt"
    document = read_document(case)
    done = speak_document(SlowTTS(tmp_path / "model"), document, tmp_path / "out.wav", seed=1)
    one, two = manifest_of(tmp_path / "out.wav")["pieces"]
    # 0.42 s of room for 3 s, at 1.3 times the speed; the second begins later by the rest.
    assert one["late"] == 0
    assert one["overrun"] == pytest.approx(3 / 1.3 - 0.42, abs=0.15)
    assert two["late"] == pytest.approx(one["end"] - 1.5, abs=0.01)
    assert two["late"] > 0.5
    assert two["overrun"] >= two["late"]
    assert set(done.untimely) == {1, 2}
    assert done.untimely[1].startswith("00:00:01,000: ends ")
    assert done.untimely[2].startswith(f"00:00:01,500: begins {two['late']:.2f} s late")


def test_the_report_of_rows_names_omissions_and_late_speech(tmp_path):
    from mlx_chatterbox.longform.batch import speak_batch

    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / "a.srt").write_text(
        "1\n00:00:01,000 --> 00:00:01,000\nNo.\n\n2\n00:00:01,000 --> 00:00:01,400\nYes.\n\n"
        "3\n00:00:01,500 --> 00:00:02,000\n[BANG] Late.\n"
    )
    for _ in range(2):  # The second time it is kept, with the same report.
        (line,) = speak_batch(
            SlowTTS(tmp_path / "model"), texts, tmp_path / "out", longest=100, seed=1, sdh=False
        )
        assert "line 2: it ends when it begins" in line.message
        assert "--no-sdh: descriptions of 1 subtitle left out" in line.message
        assert "2 of 2 subtitles do not fit their times, by up to" in line.message
    assert line.status == "kept"


def test_the_cover_of_a_book_goes_into_its_m4b(tmp_path):
    import subprocess

    from mlx_chatterbox.audio.m4b import find_ffmpeg

    make = [find_ffmpeg(), "-loglevel", "error", "-f", "lavfi", "-i", "color=red:s=20x30"]
    make += ["-frames:v", "1", "-c:v", "png", "-f", "image2pipe", "-"]
    cover = subprocess.run(make, capture_output=True, check=True).stdout
    path = write_epub(
        tmp_path / "book.epub",
        {"c.xhtml": f"<h1>One</h1><p>{STORY}</p>"},
        files={"c.png": cover},
        manifest='<item id="c" href="c.png" media-type="image/png" properties="cover-image"/>',
    )
    output = tmp_path / "book.m4b"
    speak_document(StubTTS(tmp_path / "model"), read_document(path), output, seed=1)
    shown = subprocess.run([find_ffmpeg(), "-i", str(output)], capture_output=True, check=False)
    assert b"(attached pic)" in shown.stderr
