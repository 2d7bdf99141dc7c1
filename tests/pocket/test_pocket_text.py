"""The text side of the pocket voice: numbers, phones, clauses; and packed weights."""

from __future__ import annotations

import json
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from mlx_chatterbox.errors import CheckpointError, DataError
from mlx_chatterbox.models.config import ModelConfig, PackingConfig
from mlx_chatterbox.text.clauses import pieces
from mlx_chatterbox.text.lexicon import (
    LETTERS,
    LexiconTokenizer,
    read_lexicon,
    vocabulary,
    write_lexicon,
    write_vocabulary,
)
from mlx_chatterbox.text.load import load_tokenizer
from mlx_chatterbox.text.normalize import punc_norm
from mlx_chatterbox.weights.hub import POCKET_FOLDER
from mlx_chatterbox.weights.packing import pack, unpack

DATA = Path(__file__).parents[1] / "data"

WORDS = {
    "hello": "həlˈō",
    "cat": "kˈæt",
    "dog": "dˈɔg",
    "bus": "bˈʌs",
    "two": "tˈu",
    "doctor": "dˈɑktɝ",
    "d": "dˈi",
    "n": "ˈɛn",
    "a": "ə",
}


@pytest.fixture
def tokenizer(tmp_path) -> LexiconTokenizer:
    write_vocabulary(tmp_path / "tokenizer.json")
    write_lexicon(tmp_path / "lexicon.txt.gz", WORDS)
    return LexiconTokenizer(tmp_path / "tokenizer.json", tmp_path / "lexicon.txt.gz")


def test_words_become_phones(tokenizer):
    assert tokenizer.phones("Hello, cat!") == "həlˈō, kˈæt!"
    # A stressed vowel is one token.
    ids = tokenizer.encode("cat")
    assert len(ids) == 3
    assert ids[1] == vocabulary()["ˈæ"]


def test_what_the_dictionary_lacks_is_spelled_in_letters(tokenizer):
    assert tokenizer.phones("Wug") == "WUG"
    assert set("WUG") <= set(LETTERS)
    assert tokenizer.phones("café") == "CAFE"
    assert tokenizer.phones("hello", by_letters=lambda word: True) == "HELLO"


def test_plurals_possessives_initials_abbreviations_and_digits(tokenizer):
    assert tokenizer.phones("cats dogs buses") == "kˈæts dˈɔgz BUSES"
    assert tokenizer.phones("the dog's bus's") == "THE dˈɔgz bˈʌsɪz"
    assert tokenizer.phones("DN") == "dˈi ˈɛn"
    assert tokenizer.phones("Dr. Cat") == "dˈɑktɝ kˈæt"
    assert tokenizer.phones("2 cats") == "tˈu kˈæts"


def test_spelled_letters_are_letters_and_no_words(tokenizer):
    a, os = "ˈē", "ˈōz"
    assert tokenizer.phones("DNA") == f"dˈi ˈɛn {a}"
    assert tokenizer.phones("a dog, A dog") == "ə dˈɔg, ə dˈɔg"
    assert tokenizer.phones("CEOs") == f"C E {os}"


def test_plain_sentences_have_the_tokens_that_they_had():
    tokenizer = load_tokenizer(POCKET_FOLDER, ModelConfig.load(POCKET_FOLDER).text)
    known = json.loads((DATA / "pocket-tokens.json").read_text(encoding="utf-8"))
    assert len(known) > 15
    for sentence, tokens in known.items():
        assert tokenizer.encode(punc_norm(sentence)) == tokens, sentence


def test_every_character_of_a_text_is_known(tokenizer):
    text = 'Hello "world" (really): what—now? A1 & b2; naïve… ½ 日本'
    assert vocabulary()["[UNK]"] not in tokenizer.encode(text)
    assert tokenizer.knows_any("日 a")
    assert not tokenizer.knows_any("日本 ...")


def test_tokens_decode_to_the_phones(tokenizer):
    assert tokenizer.decode(tokenizer.encode("Hello cat.")) == "həlˈō kˈæt."


def test_a_damaged_dictionary_is_an_error(tmp_path):
    write_vocabulary(tmp_path / "tokenizer.json")
    (tmp_path / "lexicon.txt.gz").write_bytes(b"no gzip")
    with pytest.raises(CheckpointError, match="lexicon"):
        read_lexicon(tmp_path / "lexicon.txt.gz")
    with pytest.raises(CheckpointError, match="lexicon"):
        LexiconTokenizer(tmp_path / "tokenizer.json", tmp_path / "missing.gz")


def test_the_dictionary_is_the_same_bytes_every_time(tmp_path):
    for name in ("one", "two"):
        write_lexicon(tmp_path / name, dict(reversed(WORDS.items())))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert read_lexicon(tmp_path / "one") == WORDS


LONG = (
    "When the sunlight strikes raindrops in the air, they act as a prism and form a rainbow. The "
    "rainbow is a division of white light into many beautiful colors, which take the shape of a "
    "long round arch with its path high above and its two ends apparently beyond the horizon. Yes."
)


@pytest.mark.parametrize("longest", [30, 60, 100, 150, 1000])
def test_pieces_are_short_and_lose_nothing(longest):
    found = pieces(LONG, longest)
    assert " ".join(found) == LONG
    assert max(map(len, found)) <= longest


def test_pieces_are_cut_at_sentences_first_then_at_clauses():
    assert pieces("One two three. Four five six.", 20) == ["One two three.", "Four five six."]
    assert pieces("One two three, four five six.", 20) == ["One two three,", "four five six."]
    assert pieces("One two three and four five.", 20) == ["One two three", "and four five."]


def test_short_texts_and_long_words_stay_whole():
    assert pieces("  Hello \n world. ", 0) == ["Hello world."]
    assert pieces("Hello world.", 100) == ["Hello world."]
    assert pieces("x" * 50, 10) == ["x" * 50]
    assert pieces("Hello world, " + "-" * 12, 14) == ["Hello world, " + "-" * 12]


def test_packed_weights_come_back_within_half_a_step():
    rng = np.random.default_rng(0)
    weights = {
        "t3.a": mx.array(rng.standard_normal((8, 128)).astype(np.float32)),
        "t3.conv": mx.array(rng.standard_normal((4, 3, 64)).astype(np.float32)),
        "t3.odd": mx.array(rng.standard_normal((4, 63)).astype(np.float32)),
        "t3.bias": mx.array(rng.standard_normal(128).astype(np.float32)),
        "ve.a": mx.array(rng.standard_normal((8, 128)).astype(np.float32)),
    }
    packing = PackingConfig(bits=8)
    packed = pack(weights, packing, lambda key: key.startswith("t3."))
    assert packed["t3.a"].dtype == mx.uint32
    assert packed["t3.conv"].dtype == mx.uint32
    assert packed["t3.odd"].dtype == packed["ve.a"].dtype == mx.float32
    back = unpack(packed, packing, mx.float32)
    assert back.keys() == weights.keys()
    for key, value in weights.items():
        step = (value.max() - value.min()).item() / 255
        assert mx.abs(back[key] - value).max().item() <= step, key
        assert back[key].shape == value.shape


def test_a_packed_tensor_without_its_scales_is_an_error():
    packing = PackingConfig(bits=8)
    packed = pack({"a": mx.ones((2, 64))}, packing, lambda key: True)
    del packed["a.offsets"]
    with pytest.raises(CheckpointError, match="damaged"):
        unpack(packed, packing, mx.float32)


@pytest.mark.parametrize(
    ("missing", "error"),
    [
        ("t2p", "t2p is not installed: apt-get install flite"),
        ("words", "apt-get install wamerican"),
    ],
)
def test_a_package_that_the_lexicon_needs_is_named(monkeypatch, tmp_path, missing, error):
    from mlx_chatterbox.train.pocket import pronunciations, synthesisers, texts

    here = {"flite", "espeak-ng", "t2p"} - {missing}
    which = {name: f"/usr/bin/{name}" for name in here}.get
    monkeypatch.setattr(synthesisers.shutil, "which", which)
    monkeypatch.setattr(texts, "WORD_LIST", tmp_path / "words")
    with pytest.raises(DataError, match=error):
        pronunciations.make_lexicon(tmp_path / "lexicon.txt.gz")
    assert not list(tmp_path.iterdir())
