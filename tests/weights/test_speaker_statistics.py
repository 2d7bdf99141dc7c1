"""Statistics of speakers, from what a user names."""

from __future__ import annotations

import numpy as np
import pytest

from mlx_chatterbox.errors import CheckpointError, SettingError
from mlx_chatterbox.weights.speaker_statistics import read_statistics
from tests.chattts_reference import reference, text

from .test_unpickle import FakeTensor, Global, torch_save

STRING = text("speaker/stat_string")
VALUES = np.concatenate([reference()["speaker/std"], reference()["speaker/mean"]])


def check(source) -> None:
    statistics = read_statistics(source)
    for part in ("std", "mean"):
        assert getattr(statistics, part).dtype == np.float16
        np.testing.assert_array_equal(getattr(statistics, part), reference()[f"speaker/{part}"])


def test_the_string_itself_is_taken():
    check(STRING)
    check(f" {STRING}\n")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_text_file_with_the_string_is_taken(tmp_path, encoding):
    (tmp_path / "spk_stat.txt").write_text(f"{STRING}\r\n", encoding=encoding)
    check(tmp_path / "spk_stat.txt")
    check(str(tmp_path / "spk_stat.txt"))


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_a_file_of_pytorch_is_taken_and_found_in_its_folder(tmp_path, dtype):
    (tmp_path / "asset").mkdir()
    path = tmp_path / "asset" / "spk_stat.pt"
    torch_save(path, FakeTensor(VALUES.astype(dtype)))
    check(path)
    check(tmp_path)


def test_no_code_is_run(tmp_path):
    path = tmp_path / "spk_stat.pt"
    torch_save(path, Global("os", "getcwd", ()))
    with pytest.raises(CheckpointError, match="getcwd"):
        read_statistics(path)


def write_small(path):
    torch_save(path, FakeTensor(VALUES[:100]))


def write_nested(path):
    torch_save(path, {"std": FakeTensor(VALUES[:768])})


@pytest.mark.parametrize(
    ("name", "write", "words"),
    [
        ("a.pt", write_small, "shape"),
        ("a.pt", write_nested, "not one tensor"),
        ("a.pt", lambda path: path.write_text(STRING), "not a file written by torch.save"),
        ("a.txt", lambda path: path.write_bytes(b"\xff\xfe\x00"), "neither a text"),
        ("a.txt", lambda path: path.write_text("hello"), "character 1"),
        ("a.txt", lambda path: path.write_text(text("speaker/string"), "utf-8"), "bytes, not 3072"),
        ("a.txt", lambda path: path.write_text(STRING[:-1], "utf-8"), "3073 bytes"),
        ("a.txt", lambda path: path.write_text(STRING * 200, "utf-8"), "more than 65536 bytes"),
        ("a.txt", lambda path: None, "is missing.*spk_stat.pt"),
        ("a.pt", lambda path: path.mkdir(), "is missing"),
    ],
)
def test_whatever_else_is_an_error_that_names_the_file(tmp_path, name, write, words):
    write(tmp_path / name)
    with pytest.raises(CheckpointError, match=words) as caught:
        read_statistics(tmp_path / name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("source", [None, "", 5, b"bytes"])
def test_what_is_no_source_is_refused(source):
    with pytest.raises(SettingError, match="path or a string"):
        read_statistics(source)


def test_a_damaged_string_is_not_taken_for_a_path():
    with pytest.raises(SettingError, match="3073 bytes"):
        read_statistics(STRING[:-1])
