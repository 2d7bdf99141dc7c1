"""Texts that are not in UTF-8: the encoding they are read in, and its report."""

from __future__ import annotations

import pytest

from mlx_chatterbox.generate import main
from mlx_chatterbox.longform.readers import read_document
from mlx_chatterbox.longform.readers.encodings import guess
from mlx_chatterbox.longform.rows import read_rows

ENGLISH = "It’s a naïve “café” — she said, déjà vu…"
GERMAN = "Größe, Übermut und „Äpfel“."
FRENCH = "Il va à Paris. À Nice, l’été…"


@pytest.mark.parametrize(
    ("text", "codec", "language", "encoding"),
    [
        (ENGLISH, "cp1252", "en", "windows-1252"),
        (GERMAN, "cp1252", "de", "windows-1252"),
        (FRENCH, "cp1252", "fr", "windows-1252"),
        ("Café.", "latin-1", None, "windows-1252"),
        ("à", "latin-1", None, "windows-1252"),
        (ENGLISH, "mac_roman", "en", "Mac Roman"),
        (GERMAN, "mac_roman", "de", "Mac Roman"),
        (FRENCH, "mac_roman", None, "Mac Roman"),
        ("Здравствуй, мир.", "cp1251", "ru", "windows-1251"),
        ("Zażółć gęślą jaźń.", "cp1250", "pl", "windows-1250"),
        ("こんにちは。", "cp932", "ja", "cp932"),
        ("Hello there.", "utf-16-le", None, "UTF-16"),
        ("Grüße.", "utf-16-be", "de", "UTF-16"),
    ],
)
def test_an_encoding_is_guessed(text, codec, language, encoding):
    assert guess(text.encode(codec), language) == (text, encoding)


def test_a_few_bytes_of_windows_in_utf8():
    mixed = "Größe und Äpfel, schön und süß. ".encode() * 3 + b"It\x92s."
    text, encoding = guess(mixed)
    assert text.endswith("süß. It’s.")
    assert encoding == "UTF-8 and windows-1252 mixed"


@pytest.mark.parametrize("content", [b"\xed\xb3\xa9", b"\xff\x81", bytes(range(1, 256))])
def test_the_encoding_of_binary_files_is_not_guessed(content):
    assert guess(content) is None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.txt", ENGLISH),
        ("a.md", ENGLISH),
        ("a.srt", f"1\n00:00:01,000 --> 00:00:03,000\n{ENGLISH}\n"),
        ("a.vtt", f"WEBVTT\n\n00:01.000 --> 00:03.000\n{ENGLISH}\n"),
    ],
)
@pytest.mark.parametrize(
    ("codec", "encoding"), [("cp1252", "windows-1252"), ("mac_roman", "Mac Roman")]
)
def test_files_are_read_and_the_guess_is_reported(tmp_path, name, text, codec, encoding):
    (tmp_path / name).write_bytes(text.encode(codec))
    found = read_document(tmp_path / name)
    assert [piece.text for piece in found.pieces] == [ENGLISH]
    assert found.remarks == (
        f"it is not in UTF-8, and was read as {encoding}: if words are wrong, save it as UTF-8",
    )


def test_the_language_decides_what_a_text_was_written_in(tmp_path):
    (tmp_path / "a.srt").write_bytes("1\n00:01 --> 00:03\nПривет, мир.\n".encode("cp1251"))
    found = read_document(tmp_path / "a.srt", "ru")
    assert [piece.text for piece in found.pieces] == ["Привет, мир."]


def test_rows_of_excel_for_windows(tmp_path):
    (tmp_path / "rows.csv").write_bytes("text;output\nCafé – “x”.;a.wav\n".encode("cp1252"))
    with pytest.warns(UserWarning, match=r"rows\.csv: it is not in UTF-8.*windows-1252"):
        (row,) = read_rows(tmp_path / "rows.csv", tmp_path, None, None, "wav")
    assert row.text == "Café – “x”."


def test_the_command_line_reports_the_guess_once(tmp_path, capsys):
    path = tmp_path / "a.txt"
    path.write_bytes(ENGLISH.encode("cp1252"))
    assert main(["--model", "pocket", "--show-text", "--file", str(path)]) == 0
    out, err = capsys.readouterr()
    assert "déjà vu" in out
    assert err.count("read as windows-1252") == 1
