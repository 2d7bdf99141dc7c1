"""Text preparation. Equality with upstream on thousands of strings is a reference test."""

from __future__ import annotations

import pytest

from mlx_chatterbox.errors import CheckpointError
from mlx_chatterbox.text.normalize import punc_norm
from mlx_chatterbox.text.tokenizer import EnglishTokenizer


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "You need to add some text for me to talk."),
        ("hello", "Hello."),
        ("Already done!", "Already done!"),
        ("a  b\n\tc", "A b c."),
        (" leading space stays lower", "leading space stays lower."),
        ("wait... what", "Wait,  what."),
        ("one; two: three", "One,  two, three."),
        ("a - b", "A, b."),
        ("em\u2014dash en\u2013dash", "Em-dash en-dash."),
        ("\u201cquoted\u201d \u2018single\u2019", "\"quoted\" 'single'."),
        ("trailing comma,", "Trailing comma,"),
        ("hello\u3002", "Hello\u3002."),
        ("so , so", "So, so."),
        ("ends with space ", "Ends with space."),
    ],
)
def test_punc_norm(text, expected):
    assert punc_norm(text) == expected


@pytest.fixture(scope="module")
def tokenizer(small_upstream):
    return EnglishTokenizer(small_upstream / "tokenizer.json")


def test_tokens_come_back_as_text(tokenizer):
    text = "Hello, it's 5 o'clock!"
    ids = tokenizer.encode(text)
    assert all(isinstance(i, int) and 0 <= i < 704 for i in ids)
    assert tokenizer.decode(ids) == text


def test_a_space_is_a_token(tokenizer):
    assert tokenizer.encode("a b").count(2) == 1


def test_unknown_letters(tokenizer):
    assert tokenizer.encode("字") == [1]
    assert not tokenizer.knows_any("字, 字!")
    assert tokenizer.knows_any("字 a")


def test_no_tokenizer(tmp_path):
    with pytest.raises(CheckpointError, match="missing"):
        EnglishTokenizer(tmp_path / "tokenizer.json")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(CheckpointError, match="not a tokenizer"):
        EnglishTokenizer(tmp_path / "tokenizer.json")
