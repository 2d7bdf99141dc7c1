"""Many texts at once: rows of a CSV file, a folder; bad ones are reported, finished ones kept."""

from __future__ import annotations

import csv

import pytest
import soundfile

from mlx_chatterbox.errors import SettingError, TextError
from mlx_chatterbox.longform.batch import speak_batch
from mlx_chatterbox.longform.local import local
from mlx_chatterbox.longform.rows import read_rows
from tests.longform.job_stub import StubTTS

HEADER = "text,voice,language,output\n"
GOOD = HEADER + "Hello there.,,,a.wav\nHow are you?,,en,sub/b.flac\nFine.,,,\n"


@pytest.fixture
def speak(tmp_path):
    """Function that speaks a CSV text or a folder into `out`; the stub, with the report's lines."""

    def run(source, **settings):
        if isinstance(source, str):
            (tmp_path / "rows.csv").write_text(source, encoding="utf-8")
            source = tmp_path / "rows.csv"
        tts = StubTTS(tmp_path / "model")
        settings = {"longest": 60, "seed": 1, "batch_size": 4, **settings}
        tts.lines = speak_batch(tts, source, tmp_path / "out", **settings)
        return tts

    run.folder = tmp_path
    return run


def report(folder) -> list[dict]:
    with (folder / "out" / "report.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def outputs(folder) -> dict[str, bytes]:
    found = sorted((folder / "out").rglob("*"))
    kept = [
        p for p in found if p.is_file() and "batch.job" not in p.parts and p.name != "report.csv"
    ]
    return {p.relative_to(folder / "out").as_posix(): p.read_bytes() for p in kept}


def test_rows_become_files(speak):
    tts = speak(GOOD)
    assert tts.said == [["Hello there.", "How are you?", "Fine."]]
    assert list(outputs(speak.folder)) == ["0003.wav", "a.wav", "sub/b.flac"]
    assert [line["status"] for line in report(speak.folder)] == ["spoken"] * 3
    for line in report(speak.folder):
        info = soundfile.info(speak.folder / "out" / line["output"])
        assert float(line["seconds"]) == pytest.approx(info.duration, abs=0.006)


def test_finished_rows_are_kept_and_changed_ones_spoken(speak):
    speak(GOOD)
    before = outputs(speak.folder)
    assert speak(GOOD).said == []
    assert [line["status"] for line in report(speak.folder)] == ["kept"] * 3
    changed = GOOD.replace("How are you?", "Who are you?")
    assert speak(changed).texts == ["Who are you?"]
    after = outputs(speak.folder)
    assert [name for name in after if after[name] != before[name]] == ["sub/b.flac"]
    (speak.folder / "out" / "a.wav").write_bytes(b"somebody wrote over it")
    assert speak(changed).said == []  # assembled again from stored pieces
    assert outputs(speak.folder) == after


def test_a_row_that_is_put_in_front_changes_no_other(speak):
    speak(GOOD.replace("Fine.,,,", "Fine.,,,c.wav"))
    before = outputs(speak.folder)
    tts = speak(
        GOOD.replace("Fine.,,,", "Fine.,,,c.wav").replace("output\n", "output\nFine.,,,d.wav\n")
    )
    assert tts.texts == ["Fine."]
    after = outputs(speak.folder)
    assert {name: after[name] for name in before} == before
    assert after["d.wav"] != after["c.wav"]


BAD = {
    ",,,x.wav": "there is no text to speak",
    "...,,,x.wav": "there is nothing to speak: no letter or digit",
    "Hello.,nobody.wav,,x.wav": "nobody.wav does not exist",
    "Hello.,,xx,x.wav": "speaks only English, not 'xx'",
    "Hello.,,,../x.wav": "outside the folder of outputs",
    "Hello.,,,/x.wav": "outside the folder of outputs",
    "Hello.,,,x.docx": "names no known audio format",
    "Hello.,,,a.wav": "output a.wav is also the output of row 1",
    "Hello.,,,A.wav": "output A.wav is also the output of row 1",
    "Hello, you.,,,x.wav": "more cells than the header",
    "An unspeakable word.,,,x.wav": "knows none of the letters",
}


@pytest.mark.parametrize("row", BAD)
def test_a_bad_row_is_reported_and_the_rest_goes_on(speak, row):
    speak(HEADER + "Good one.,,,a.wav\n" + row + "\nAnother good one.,,,b.wav\n")
    lines = report(speak.folder)
    assert [line["status"] for line in lines] == ["spoken", "failed", "spoken"]
    assert BAD[row] in lines[1]["message"]
    assert list(outputs(speak.folder)) == ["a.wav", "b.wav"]


def test_a_long_row_with_a_bad_piece_is_not_written(speak):
    long = " ".join(["A sentence that is good enough to be spoken alone."] * 3)
    speak(HEADER + f"{long} An unspeakable word is here somewhere in it.,,,a.wav\nGood.,,,b.wav\n")
    lines = report(speak.folder)
    assert [line["status"] for line in lines] == ["failed", "spoken"]
    assert "pieces: the model knows none" in lines[0]["message"]
    assert list(outputs(speak.folder)) == ["b.wav"]


def test_rows_of_all_languages_and_voices_are_spoken_together(speak, monkeypatch):
    from mlx_chatterbox.longform.speaking import VoiceSettings
    from mlx_chatterbox.longform.voice_resolver import VoiceResolver

    def resolve(self, voice, language, speed):
        return VoiceSettings({"language_id": language}, None, "", "", language)

    monkeypatch.setattr(VoiceResolver, "resolve", resolve)
    languages = ["fr" if n % 2 else "de" for n in range(20)]
    rows = "".join(f"Number {n}.,,{language},\n" for n, language in enumerate(languages))
    tts = speak(HEADER + rows)
    assert [len(texts) for texts in tts.said] == [12, 8]  # three times the batch size, and the rest
    assert tts.texts == [f"Number {n}." for n in range(20)]
    assert [settings["language_id"] for settings in tts.settings] == languages


def test_a_crash_keeps_what_was_finished(speak):
    def crash(pieces, batch_size, store):
        stored = []

        def deadly(spoken):
            if len(stored) == 5:
                raise KeyboardInterrupt
            store(spoken)
            stored.append(spoken.key)

        local(StubTTS(speak.folder / "model"))(pieces, batch_size, deadly)

    rows = HEADER + "".join(f"Number {n}.,,,{n}.wav\n" for n in range(10))
    with pytest.raises(KeyboardInterrupt):
        speak(rows, executor=crash)
    states = [line["status"] for line in report(speak.folder)]
    assert states == ["spoken"] * 5 + ["waiting"] * 5
    tts = speak(rows)
    assert tts.said == [[f"Number {n}." for n in range(5, 10)]]
    resumed = outputs(speak.folder)
    for path in sorted((speak.folder / "out").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    speak(rows)
    assert outputs(speak.folder) == resumed


def test_a_folder_of_texts(speak):
    folder = speak.folder / "texts"
    (folder / "more").mkdir(parents=True)
    (folder / "one.txt").write_text("The first one.")
    (folder / "more" / "two.txt").write_text("The second one. " * 10)
    (folder / "more" / "bad.txt").write_bytes(b"\xff\xfe\x00")
    (folder / ".hidden.txt").write_text("Nobody hears this.")
    (folder / "picture.png").write_bytes(b"")
    speak(folder, ending="flac", subtitles="srt")
    assert list(outputs(speak.folder)) == ["more/two.flac", "more/two.srt", "one.flac", "one.srt"]
    by_name = {line["output"]: line for line in report(speak.folder)}
    assert by_name["more/bad.flac"]["status"] == "failed"
    assert "UTF-8" in by_name["more/bad.flac"]["message"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no column 'text'"),
        ("name,output\na,b.wav\n", "has no column 'text'"),
        ("text,ouput\na,b.wav\n", "columns are text, voice, language, output"),
        ("text,text\na,b\n", "each once"),
    ],
)
def test_a_header_that_is_wrong(speak, text, message):
    with pytest.raises(TextError, match=message):
        speak(text)


def test_a_file_without_rows(speak):
    with pytest.raises(SettingError, match="no rows"):
        speak(HEADER)


def test_quotes_a_byte_order_mark_and_capitals_in_the_header(tmp_path):
    file = tmp_path / "rows.csv"
    file.write_text('\ufeffText,OUTPUT\n"Hello, ""you"".\nAgain.",a.wav\n', encoding="utf-8")
    (row,) = read_rows(file, tmp_path / "out", None, "fr", "wav")
    assert row.text == 'Hello, "you".\nAgain.'
    assert (row.output, row.language, row.problem) == ("a.wav", "fr", "")


ROWS = [["Hello there, you.", "", "en", "a.wav"], ["It costs 3,50; no more.\nOr so.", "", "", ""]]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("before", ["", "sep={}\n", '"sep={}"\r\n'])
def test_cells_are_separated_by_commas_semicolons_or_tabs(tmp_path, separator, before):
    file = tmp_path / "rows.csv"
    with file.open("w", newline="", encoding="utf-8") as out:
        out.write(before.format(separator))
        writer = csv.writer(out, delimiter=separator)
        writer.writerows([["text", "Voice", "language", "output"], *ROWS])
    one, two = read_rows(file, tmp_path / "out", None, "fr", "wav")
    assert (one.text, one.language, one.output, one.problem) == (ROWS[0][0], "en", "a.wav", "")
    assert (two.text, two.language, two.output, two.problem) == (ROWS[1][0], "fr", "0002.wav", "")


def test_a_table_of_semicolons_from_elsewhere(speak):
    from pathlib import Path

    text = (Path(__file__).parents[1] / "data" / "documents" / "semi.csv").read_text(
        encoding="utf-8"
    )
    tts = speak(text.replace("rms.wav", "").replace("slt.wav", ""))
    assert tts.texts[:2] == ["Hello there; my friend.", "I am well; thank you."]
    lines = report(speak.folder)
    assert [line["output"] for line in lines if line["status"] == "spoken"] == [
        "a.wav", "b.wav", "nl.wav", "0010.wav",
    ]  # fmt: skip
    messages = " ".join(line["message"] for line in lines)
    for part in ("no letter", "no text", "of row 1", "outside the folder", "nope.wav", "not 'de'"):
        assert part in messages


def test_unquoted_semicolons_within_commas_and_the_other_way_round(tmp_path):
    (tmp_path / "a.csv").write_text("text,output\nOne; two.,a.wav\n")
    (tmp_path / "b.csv").write_text("text;output\nOne, 3,5 two.;a.wav\n")
    texts = [read_rows(tmp_path / name, tmp_path, None, "en", "wav")[0].text for name in
             ("a.csv", "b.csv")]  # fmt: skip
    assert texts == ["One; two.", "One, 3,5 two."]


@pytest.mark.parametrize(
    "table",
    [
        "text|output\nOne, two.|a.wav\n",
        "sep=|\ntext|output\nOne, two.|a.wav\n",
        "text;output;\nOne, two.;a.wav;\n",
        "text;output;;\nOne, two.;a.wav;;\n;;;\n; ;;\n",
        "\n\ntext;output\nOne, two.;a.wav\n;\n",
    ],
)
def test_tables_as_spreadsheets_leave_them(tmp_path, table):
    """Bars, columns without a name, rows without a text or anything else."""
    (tmp_path / "a.csv").write_text(table)
    (row,) = read_rows(tmp_path / "a.csv", tmp_path, None, "en", "wav")
    assert (row.number, row.text, row.output, row.problem) == (1, "One, two.", "a.wav", "")


def test_the_content_of_an_unnamed_column_is_reported(tmp_path):
    (tmp_path / "a.csv").write_text("text;output;\nOne;a.wav;lost\n;;\nTwo;b.wav;\n")
    first, second = read_rows(tmp_path / "a.csv", tmp_path, None, "en", "wav")
    assert "more cells than the header has" in first.problem
    # Rows that were emptied count, so that outputs keep their names.
    assert (second.number, second.text, second.problem) == (3, "Two", "")


def test_a_utf16_table_as_spreadsheets_write_it(tmp_path):
    (tmp_path / "a.txt").write_text("text\toutput\nGröße\ta.wav\n", encoding="utf-16")
    (row,) = read_rows(tmp_path / "a.txt", tmp_path, None, "de", "wav")
    assert (row.text, row.output) == ("Größe", "a.wav")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("text:voice\na:b\n", "separated by commas, semicolons, tabs or bars"),
        ("text;text\na;b\n", "each once; got text, text"),
        ("texte;voix\na;b\n", "has no column 'text'"),
        ("text;wav\na;b\n", "got text, wav"),
        ('text,output\n"Never closed,a.wav\nB,b.wav\n', "line 2: a quotation mark is opened"),
    ],
)
def test_invalid_tables_are_explained(speak, text, message):
    with pytest.raises(TextError, match=message):
        speak(text)


def test_rows_with_other_separators_than_their_header_are_explained(speak):
    speak("text,voice,output\nHello;;a.wav\nGood one.,,b.wav\n")
    first, second = report(speak.folder)
    assert first["message"] == "cells separated by semicolons, but the header's by commas"
    assert second["status"] == "spoken"
