"""Long texts and batches from the command line, with small networks."""

from __future__ import annotations

import csv
import json
from itertools import pairwise

import pytest
import soundfile

from mlx_chatterbox.generate import main

LONG = (
    "It was a closed and wooden shirt that somebody had left behind, and nobody knew whose it was. "
    "The letters were late and the river was rough. Every morning somebody brought a town.\n\n"
    "Many plans must bring something soft. She said that Kate and Ruth forgot a lot of soup. "
    "Nothing is as late as the letters, and these are wooden answers. I have never seen a river."
)


@pytest.fixture
def speak(small_checkpoint, recording_file, tmp_path, capsys):
    """Runs the command in a folder of its own; gives exit code, standard output and error."""
    (tmp_path / "long.txt").write_text(LONG, encoding="utf-8")

    def run(*arguments):
        words = ["--model", small_checkpoint, "--max-new-tokens", 6, "--cfm-steps", 2]
        words += ["--voice", recording_file, "--seed", 1, *arguments]
        code = main([str(word) for word in words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    run.folder = tmp_path
    return run


def test_a_long_file_is_a_job(speak):
    output = speak.folder / "out.flac"
    words = ["--file", speak.folder / "long.txt", "--output", output, "--subtitles", "vtt"]
    code, out, err = speak(*words, "--batch-size", 2)
    assert code == 0, err
    manifest = json.loads((speak.folder / "out.flac.job" / "manifest.json").read_text())
    pieces = manifest["pieces"]
    assert len(pieces) >= 2
    assert f"in {len(pieces)} pieces" in out
    assert " ".join(piece["text"] for piece in pieces) == " ".join(LONG.split())
    assert all(a["end"] <= b["start"] for a, b in pairwise(pieces))
    assert soundfile.info(output).duration == pytest.approx(manifest["seconds"])
    assert (speak.folder / "out.vtt").read_text().startswith("WEBVTT")
    first = output.read_bytes()

    code, out, _ = speak(*words, "--batch-size", 2)
    assert code == 0
    assert f"{len(pieces)} of them kept" in out
    assert output.read_bytes() == first

    code, out, _ = speak(*words, "--batch-size", 2, "--redo", "2")
    assert code == 0
    assert f"{len(pieces) - 1} of them kept" in out
    again = json.loads((speak.folder / "out.flac.job" / "manifest.json").read_text())["pieces"]
    assert [a["key"] == b["key"] for a, b in zip(pieces, again, strict=True)] == [
        piece["number"] != 2 for piece in pieces
    ]


def test_a_short_file_leaves_no_job(speak):
    (speak.folder / "short.txt").write_text("Hello.")
    output = speak.folder / "out.wav"
    assert speak("--file", speak.folder / "short.txt", "--output", output)[0] == 0
    assert not (speak.folder / "out.wav.job").exists()
    code, _, err = speak("--file", speak.folder / "short.txt", "--output", output, "--redo", "1")
    assert code == 1
    assert "--redo is for long texts" in err


def test_ctrl_c_prints_how_to_resume(speak, monkeypatch):
    from mlx_chatterbox.longform import book

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(book, "local", lambda tts: interrupted)
    output = speak.folder / "out.wav"
    code, _, err = speak("--file", speak.folder / "long.txt", "--output", output)
    assert code == 130
    assert "out.wav.job; the same command resumes there" in err
    assert not output.exists()


def test_a_batch_reports_failed_rows_and_speaks_the_others(speak, recording_file):
    rows = speak.folder / "rows.csv"
    rows.write_text(
        f"text,voice,output\nHello there.,,a.wav\n,,b.wav\nFine.,{recording_file},c.wav\n",
        encoding="utf-8",
    )
    words = ["--batch", rows, "--output-dir", speak.folder / "out"]
    code, out, err = speak(*words)
    assert code == 1
    assert "row 2 (b.wav): there is no text to speak" in err
    assert "2 spoken, 0 kept, 1 failed" in out
    with (speak.folder / "out" / "report.csv").open(newline="") as file:
        assert [line["status"] for line in csv.DictReader(file)] == ["spoken", "failed", "spoken"]
    assert speak(*words)[1].count("0 spoken, 2 kept, 1 failed") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--batch", "nowhere.csv", "--output-dir", "out"], "no such file or folder"),
        (["--batch", "."], "--batch needs --output-dir"),
        (["--batch", ".", "--output-dir", "out", "--redo", "3"], "--redo is for long texts"),
        (["--text", "Hello.", "--output-dir", "out"], "--output-dir goes with --batch"),
    ],
)
def test_wrong_use_is_reported_before_the_model_is_loaded(speak, monkeypatch, arguments, message):
    from mlx_chatterbox.api import tts

    monkeypatch.setattr(tts, "open_model", None)
    code, _, err = speak(*arguments)
    assert code == 1
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("numbers", ["x", "1,", "-3", "1-"])
def test_invalid_numbers_are_refused(speak, numbers, capsys):
    with pytest.raises(SystemExit) as exit_:
        speak("--file", speak.folder / "long.txt", f"--redo={numbers}")
    assert exit_.value.code == 2
    assert "is not the number of a piece" in capsys.readouterr().err
