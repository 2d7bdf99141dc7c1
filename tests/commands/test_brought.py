"""Files from users, through the command line: the right text, or a message."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mlx_chatterbox.generate import main

DATA = Path(__file__).parents[1] / "data"
DOCS = Path(__file__).parents[2] / "docs"
# Text that must be among the lines to be spoken, text that must not, and the report on the rest.
BROUGHT = {
    "dropcap.epub": ("Once upon a time there was an information desk.", "nce upon. ", ""),
    "headings.epub": ("One. The Boy", "zero one", ""),
    "mixed.txt": ("The end is here.", "https", "the model does not know 'Привет'"),
    "nodecl.epub": ("“Naïve” résumé", "�", "read as windows-1252"),
    "pgnotes.epub": ("The king was old. He slept. He woke. He ate.", "[1]", "left out: 2 notes"),
    "phone.txt": ("oh one nine nine", "0199", ""),
    "srt_noblank.srt": ("Hello there now.", "-->", ""),
    "srt_short.srt": ("Next one.", "-->", ""),
    "srt_zero.srt": ("The first line is good.", "Zero long", "line 6: it ends when it begins"),
    "structure.epub": ("Nested list text.", "display", "left out: 2 hidden passages"),
    "sup.epub": ("ten to the eighth", "10 metres", ""),
    "sup2.epub": ("One word two three", "one1", "left out: 8 marks of notes"),
}


def test_every_document_in_the_folder_is_tried():
    there = {path.name for path in (DATA / "documents").iterdir()} - {"semi.csv"}
    assert there == set(BROUGHT)


@pytest.mark.parametrize("name", BROUGHT)
def test_a_document_is_read_rightly(name, capsys):
    spoken, never, told = BROUGHT[name]
    path = DATA / "documents" / name
    code = main(["--model", "pocket", "--file", str(path), "--show-text"])
    shown = capsys.readouterr()
    assert code in (0, None)
    assert spoken in shown.out
    assert never not in shown.out
    assert told in shown.err
    assert "Traceback" not in shown.err


def test_a_table_of_semicolons_is_read_rightly(tmp_path, capsys):
    """Every row is spoken, or has a line that states why not."""
    table = Path(shutil.copy(DATA / "documents" / "semi.csv", tmp_path))
    for voice in ("rms", "slt"):
        shutil.copy(DOCS / f"pocket-{voice}.wav", tmp_path / f"{voice}.wav")
    main(["--model", "pocket", "--batch", str(table), "--show-text"])
    shown = capsys.readouterr()
    for text in ("Hello there; my friend.", "I am well; thank you.", "Line one line two."):
        assert text in shown.out
    for message in ("outside the folder of outputs", "nope.wav does not exist"):
        assert message in shown.err
    assert "Traceback" not in shown.err


def test_a_recording_with_the_wrong_ending_is_read(tmp_path, capsys):
    pytest.importorskip("imageio_ffmpeg")
    output = tmp_path / "out.wav"
    voice = str(DATA / "m4anamed.mp3")
    words = ["--text", "Hello.", "--voice", voice, "--seed", "1", "--output", str(output)]
    assert main(["--model", "pocket", *words]) in (0, None)
    assert output.stat().st_size > 1000
    assert "Traceback" not in capsys.readouterr().err
