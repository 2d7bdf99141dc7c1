"""Text from files cannot control a terminal or a spreadsheet."""

from __future__ import annotations

import argparse
import csv
import os
import time
import unicodedata

import pytest

from mlx_chatterbox.audio.files import read_channels
from mlx_chatterbox.commands.longform_options import numbers
from mlx_chatterbox.errors import ChatterboxError, SettingError, TextError
from mlx_chatterbox.generate import main
from mlx_chatterbox.harmless import LONGEST_QUOTE, cell, harmless, one_line, shortened
from mlx_chatterbox.text.pauses import segments

EVIL = "\x1b]0;owned\x07\x1b[2J\r\x9b31m\u202etxt"
OBEYED = set("\x1b\x07\r\x9b\u202e")


def test_characters_that_control_a_terminal_are_escaped_and_no_others():
    kept = "\t\naé\u0627\u05d0\u0e01\u4e2d\U0001f600\u200d\u200c\u200e\u200f\u00a0\ufeff"
    assert harmless(kept) == kept
    for code in (*range(9), *range(11, 32), *range(0x7F, 0xA0)):
        assert unicodedata.category(chr(code)) == "Cc"
        assert harmless(f"a{chr(code)}b") == f"a\\x{code:02x}b".replace("\\x0d", "\\r")
    for code in (0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0xDC80, 0xD800):
        assert harmless(chr(code)) == f"\\u{code:04x}"
    assert harmless("\U000e0041") == "\\U000e0041"


def test_errors_are_harmless_in_python_too():
    error = SettingError(f"no such file {EVIL}, {'x' * 40000!r}.")
    assert not OBEYED & set(str(error))
    assert len(str(error)) < 250
    assert str(ChatterboxError()) == ""
    # The message itself stays whole; only quotes are shortened.
    words = "the model's files aren't there: " + "a word " * 100 + "isn't one's"
    assert str(TextError(words)) == words


def test_long_texts_are_shortened_with_a_note_of_the_length():
    text = "".join(chr(97 + n % 26) for n in range(1000))
    short = shortened(text)
    assert len(short) <= LONGEST_QUOTE
    begin, _, end = short.partition("... (")
    count, _, end = end.partition(" more) ...")
    assert text.startswith(begin)
    assert text.endswith(end)
    assert len(begin) + int(count) + len(end) == 1000
    assert shortened("a" * LONGEST_QUOTE) == "a" * LONGEST_QUOTE
    assert one_line("a\n\n b\u2028c") == "a b c"


@pytest.mark.parametrize(
    "part", ["'", "\\'", "\"'", " 'a", " '" + "a" * 90, "\\\\'", "\x1b", " \"a' "]
)
def test_messages_take_linear_time(part):
    started = time.process_time()
    one_line(part * 100_000)
    assert time.process_time() - started < 2


@pytest.mark.parametrize(
    "text", ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "＝1"]
)
def test_cells_that_a_spreadsheet_would_calculate_are_texts(text):
    assert cell(text) == f"'{text}"
    assert cell(f"a{text}") == f"a{text}"


def test_names_in_a_table_reach_terminal_and_report_as_texts(tmp_path, capsys):
    table, out = tmp_path / "rows.csv", tmp_path / "out"
    with table.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(
            [["text", "output"], ["Hi.", f"a{EVIL}.xyz"], ["Hi.", "=1+1.wav"], ["Hi.", "../b.wav"]]
        )
    words = ["--batch", str(table), "--output-dir", str(out), "--model", "pocket", "--seed", "1"]
    assert main(words) == 1
    captured = capsys.readouterr()
    assert not OBEYED & set(captured.out + captured.err)
    assert "\\x1b]0;owned" in captured.err
    assert main([*words, "--show-text"]) == 1
    captured = capsys.readouterr()
    assert not OBEYED & set(captured.out + captured.err)
    # As its author named it; the name of the file is untouched.
    assert (out / "=1+1.wav").is_file()
    with (out / "report.csv").open(newline="", encoding="utf-8") as file:
        assert [row["output"] for row in csv.DictReader(file)][1:] == ["'=1+1.wav", "../b.wav"]


def test_titles_of_chapters_are_texts(tmp_path, capsys):
    book = tmp_path / "book.md"
    book.write_text(f"# One {EVIL}\n\nText.\n\n# Two\n\nMore.\n", encoding="utf-8")
    assert main(["--file", str(book), "--list-chapters"]) == 0
    captured = capsys.readouterr()
    assert not OBEYED & set(captured.out + captured.err)
    assert main(["--file", str(book), "--show-text", "--model", "pocket"]) == 0
    captured = capsys.readouterr()
    assert not OBEYED & set(captured.out + captured.err)
    assert "More." in captured.out


def test_names_of_tensors_are_texts(small_upstream, tmp_path, capsys):
    import mlx.core as mx

    from mlx_chatterbox.convert.__main__ import main as convert

    folder = tmp_path / "upstream"
    folder.mkdir()
    for path in small_upstream.iterdir():
        (folder / path.name).symlink_to(path)
    (folder / "ve.safetensors").unlink()
    tensors = mx.load(str(small_upstream / "ve.safetensors"))
    tensors[f"a{EVIL}"] = mx.zeros(3)
    mx.save_safetensors(str(folder / "ve.safetensors"), tensors)
    assert convert([str(folder), str(tmp_path / "out")]) == 1
    captured = capsys.readouterr()
    assert "owned" in captured.err
    assert not OBEYED & set(captured.out + captured.err)


def test_clips_in_lists_and_tables_are_texts(tmp_path, configuration, voice_data, capsys):
    from mlx_chatterbox.train.__main__ import main as train

    folder = tmp_path / "clips"
    folder.mkdir()
    for number in range(4):
        for ending in ("wav", "txt"):
            os.link(voice_data / f"{number}.{ending}", folder / f"{number}.{ending}")
    (folder / f"x{EVIL}.wav").write_bytes(b"RIFF none")
    (folder / f"x{EVIL}.txt").write_text(f"Text {EVIL}.")
    (folder / "0.txt").unlink()
    (folder / "0.txt").write_text(f"One {EVIL} two.")
    words = ["--config", str(configuration()), "--set", f"dataset.dataset_path={folder}"]
    for more in ([], ["--list"]):
        assert train(["validate", *words, *more]) == 0
        captured = capsys.readouterr()
        assert not OBEYED & set(captured.out + captured.err)
        assert "owned" in captured.out + captured.err


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="has no folder that nobody can write")
def test_speech_is_there_although_the_voice_cannot_be_saved(tmp_path, capsys):
    output = tmp_path / "a.wav"
    words = ["--model", "pocket", "--text", "Hi.", "--save-voice", "/proc/self/a.safetensors"]
    assert main([*words, "--output", str(output)]) == 1
    captured = capsys.readouterr()
    assert "cannot be saved as /proc/self/a.safetensors" in captured.err
    assert captured.err.count("\n") == 1
    assert len(read_channels(output)[0]) > 10_000


def test_pauses_have_a_limit_together(capsys, tmp_path):
    words = ["--model", "pocket", "--output", str(tmp_path / "a.wav")]
    assert main([*words, "--text", "Hi. " + "[pause 60s]" * 2000 + " Ho."]) == 1
    err = capsys.readouterr().err
    assert "120000 s together" in err
    assert err.count("\n") == 1
    assert len(segments("Hi. " + "[pause 60s] a " * 30, 300, "en")) == 31
    with pytest.raises(TextError):
        segments("Hi. " + "[pause 60s] a " * 31, 300, "en")


@pytest.mark.parametrize("text", ["1-999999999", "1-1000000,1-2", "5," * 9 + "1-" + "9" * 30, "²"])
def test_numbers_of_pieces_have_a_limit_together(text):
    with pytest.raises(argparse.ArgumentTypeError):
        numbers(text)
