"""Turbo's tokenizer. Equality with transformers on any string is a reference test."""

from __future__ import annotations

import json

import pytest

from mlx_chatterbox.errors import CheckpointError
from mlx_chatterbox.parity.fabricate.gpt2 import TAGS
from mlx_chatterbox.parity.fabricate.tokenizers import tokenizer_files
from mlx_chatterbox.text.gpt2 import GPT2Tokenizer, drop_unknown_tags


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gpt2")
    for name, text in tokenizer_files("gpt2").items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def tokenizer(folder):
    return GPT2Tokenizer(folder)


def test_size_and_tags(tokenizer):
    assert len(tokenizer) == 50276
    assert tokenizer.tags == set(TAGS)
    assert len(TAGS) == 19


def test_a_tag_is_one_token(tokenizer):
    for index, tag in enumerate(TAGS):
        assert tokenizer.encode(tag) == [50257 + index]
    ids = tokenizer.encode("So funny [laugh] really[sigh]!")
    assert [index - 50257 for index in ids if index >= 50257] == [18, 11]


@pytest.mark.parametrize(
    "text", ["Hello there.", "", "日本 😂 naïve", "[Laugh] <|endoftext|> [laugh]"]
)
def test_tokens_come_back_as_text(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_a_tokenizer_json_is_read_too(folder, tokenizer, tmp_path):
    tokenizer._tokenizer.save(str(tmp_path / "tokenizer.json"))
    alone = GPT2Tokenizer(tmp_path)
    text = "It's 3 o'clock [sigh], isn't it? 日本"
    assert alone.encode(text) == tokenizer.encode(text)
    assert alone.tags == tokenizer.tags


def test_a_text_too_long_is_cut_with_a_warning(tokenizer):
    with pytest.warns(UserWarning, match="only the first 1024"):
        assert len(tokenizer.encode("1 2 3 " * 2000)) == 1024


def test_what_can_be_spoken(tokenizer):
    assert tokenizer.knows_any("[laugh]")
    assert tokenizer.knows_any("é")
    assert not tokenizer.knows_any("?! ...")


@pytest.mark.parametrize(
    ("text", "dropped", "left"),
    [
        ("Hello [laugh] there", [], "Hello [laugh] there"),
        ("Hello [wave] there.", ["[wave]"], "Hello there."),
        ("[Laugh] Hello", ["[Laugh]"], "Hello"),
        ("Well [wave], no [sigh] yes [wave].", ["[wave]"], "Well, no [sigh] yes."),
        ("a[very loud noise]b", ["[very loud noise]"], "a b"),
        ("One [x] [y][x] two", ["[x]", "[y]"], "One two"),
        ("The end [fade-out]", ["[fade-out]"], "The end"),
        ('He said [wave] "hi" [smile][laugh]', ["[wave]", "[smile]"], 'He said "hi" [laugh]'),
        ("[ laugh ]", ["[ laugh ]"], ""),
        ("see [1] and [a, b] and [five words are too many] or [", [], None),
    ],
)
def test_unknown_tags_are_found_and_dropped(tokenizer, text, dropped, left):
    assert tokenizer.unknown_tags(text) == dropped
    assert drop_unknown_tags(text, tokenizer) == (text if left is None else left, dropped)


def test_missing_and_damaged_files(folder, tmp_path):
    with pytest.raises(CheckpointError, match=r"vocab\.json is missing"):
        GPT2Tokenizer(tmp_path)
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    described = settings["added_tokens_decoder"]
    settings["added_tokens_decoder"] = {"50300": described["50257"]}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    with pytest.raises(CheckpointError, match="should be 50300"):
        GPT2Tokenizer(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("[", encoding="utf-8")
    with pytest.raises(CheckpointError, match="cannot be read"):
        GPT2Tokenizer(tmp_path)
    (tmp_path / "tokenizer_config.json").unlink()
    (tmp_path / "merges.txt").write_text("#version: 0.2\nqqqq zzzz\n", encoding="utf-8")
    with pytest.raises(CheckpointError, match="not a tokenizer"):
        GPT2Tokenizer(tmp_path)
