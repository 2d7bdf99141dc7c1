"""Books and batches spoken by Flash, from the command line."""

from __future__ import annotations

import csv
import json

import pytest
import soundfile

from mlx_chatterbox.generate import main

LONG = (
    "It was a closed and wooden shirt that somebody had left behind for $5.50, and nobody knew "
    "whose it was. The letters were late and the river was rough, every morning.\n\n"
    "Many plans must bring something soft. She said that Kate and Ruth forgot a lot of soup. "
    "Nothing is as late as the letters, and these are wooden answers. I have never seen a river."
)


@pytest.fixture
def speak(small_models, recording_file, tmp_path, capsys):
    """Runs the command in a folder of its own; gives exit code, standard output and error."""
    (tmp_path / "long.txt").write_text(LONG, encoding="utf-8")

    def run(*arguments):
        words = ["--model", small_models("flash"), "--max-new-tokens", 20, "--seed", 1]
        words += ["--voice", recording_file, *arguments]
        code = main([str(word) for word in words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    run.folder = tmp_path
    return run


def test_a_book_resumes_and_knows_its_settings(speak):
    output = speak.folder / "out.flac"
    words = ["--file", speak.folder / "long.txt", "--output", output, "--num-steps", 6]
    code, out, err = speak(*words, "--batch-size", 2)
    assert code == 0, err
    pieces = json.loads((speak.folder / "out.flac.job" / "manifest.json").read_text())["pieces"]
    assert len(pieces) >= 2
    assert soundfile.info(output).frames > 0
    first = output.read_bytes()

    # In other company too each piece is what it was.
    code, out, _ = speak(*words, "--batch-size", 1)
    assert code == 0
    assert f"{len(pieces)} of them kept" in out
    (speak.folder / "out.flac.job" / "pieces" / f"{pieces[0]['key']}.flac").unlink()
    output.unlink()
    code, out, _ = speak(*words, "--batch-size", 1)
    assert code == 0
    assert f"{len(pieces) - 1} of them kept" in out
    assert output.read_bytes() == first

    code, out, _ = speak(*words, "--time-shift-tau", 1)
    assert code == 0
    assert "kept" not in out or "0 of them kept" in out


def test_a_table_of_texts(speak, recording_file):
    rows = speak.folder / "rows.csv"
    rows.write_text(
        f"text,voice,output,language\nHello.,,a.wav,\nFine.,{recording_file},b.wav,en\n"
        "Non.,,c.wav,fr\n",
        encoding="utf-8",
    )
    code, _, err = speak("--batch", rows, "--output-dir", speak.folder / "out")
    assert code == 1
    assert "flash speaks only English, not 'fr'" in err
    with (speak.folder / "out" / "report.csv").open(newline="") as file:
        assert [line["status"] for line in csv.DictReader(file)] == ["spoken", "spoken", "failed"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--upstream-exact"], "a job has no upstream_exact: it is for single texts"),
        (["--normalize", "upstream"], "a job has no normalize='upstream'"),
        (["--top-k", "5"], "flash has no top_k: leave it out"),
    ],
)
def test_what_a_book_cannot_have(speak, words, message):
    output = speak.folder / "out.wav"
    code, _, err = speak("--file", speak.folder / "long.txt", "--output", output, *words)
    assert code == 1
    assert message in err
    assert not output.exists()


def test_a_stream_of_a_book(speak):
    output = speak.folder / "out.wav"
    code, out, err = speak(
        "--file", speak.folder / "long.txt", "--output", output, "--stream", "--no-guard"
    )
    assert code == 0, err
    assert "first audio after" in out
    assert soundfile.info(output).frames > 0


def test_a_voice_is_asked_for_before_a_download(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in ("flash", "ResembleAI/chatterbox-flash"):
        for more in ([], ["--stream"]):
            words = ["--text", "Hi.", "--model", name, "--output", str(tmp_path / "a.wav"), *more]
            assert main(words) == 1
            assert "error: flash has no built-in voice: give --voice" in capsys.readouterr().err
