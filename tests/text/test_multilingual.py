"""The multilingual tokenizer's steps on known facts; equality with upstream is a reference test."""

from __future__ import annotations

import json
import sys

import pytest

from mlx_chatterbox.errors import CheckpointError, TextError
from mlx_chatterbox.models.config import TextConfig
from mlx_chatterbox.parity.fabricate.tokenizers import tokenizer_files
from mlx_chatterbox.text.load import load_tokenizer
from mlx_chatterbox.text.multilingual import SUPPORTED_LANGUAGES, MultilingualTokenizer
from mlx_chatterbox.text.normalize import punc_norm

VOCABULARY = "grapheme_mtl_merged_expanded_v1.json"

pytestmark = pytest.mark.filterwarnings(
    "ignore::mlx_chatterbox.text.languages.notice.FrontEndWarning"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("multilingual")
    for name, text in tokenizer_files("multilingual").items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(autouse=True)
def no_segmenter(monkeypatch, tmp_path):
    monkeypatch.setenv("PKUSEG_HOME", str(tmp_path / "no-pkuseg"))


@pytest.fixture
def tokenizer(folder):
    return MultilingualTokenizer(folder / VOCABULARY)


@pytest.fixture
def full_case(folder):
    return MultilingualTokenizer(folder / VOCABULARY, preprocessing="NFKD,fullcase")


@pytest.mark.parametrize(
    ("text", "style", "expected"),
    [
        ("hello。", "english", "Hello。."),
        ("hello。", "multilingual", "Hello。"),
        ("你好！", "multilingual", "你好！"),
        ("你好; 再见", "multilingual", "你好,  再见."),
        ("wait... what", "turbo", "Wait... what."),
        ("a - b; c", "turbo", "A - b; c."),
        ("\u201cso\u201d\u2026 he said:", "turbo", '"so",  he said,'),
    ],
)
def test_punctuation_styles(text, style, expected):
    assert punc_norm(text, style) == expected


def test_the_first_letter_may_stay_small():
    assert punc_norm("ça va", "multilingual", capitalize=False) == "ça va."
    with pytest.raises(ValueError, match="unknown style"):
        punc_norm("a", "klingon")


def test_the_language_is_a_tag_in_front(tokenizer, folder):
    vocabulary = json.loads((folder / VOCABULARY).read_text(encoding="utf-8"))["model"]["vocab"]
    plain = tokenizer.encode("Hello there")
    for language in ("de", "en", "fr", "ar"):
        assert tokenizer.encode("Hello there", language) == [vocabulary[f"[{language}]"], *plain]
    assert tokenizer.encode("Hello there", "DE") == tokenizer.encode("Hello there", "de")
    assert tokenizer.encode("Hello there", "") == plain


def test_there_are_23_languages_each_with_a_tag(tokenizer):
    assert len(SUPPORTED_LANGUAGES) == 23
    for language in SUPPORTED_LANGUAGES.keys() - {"ja"}:
        assert tokenizer.decode(tokenizer.encode("", language)) == f"[{language}]"


def test_an_unknown_language_is_refused_with_the_list(tokenizer):
    with pytest.raises(TextError, match=r"'tlh'.*ar, da, de.*zh"):
        tokenizer.encode("nuqneH", "tlh")


def test_letters_are_made_small_and_taken_apart(tokenizer):
    assert tokenizer.encode("ÉCOLE ﬁn ½") == tokenizer.encode("e\u0301cole fin 1\u20442")
    assert tokenizer.decode(tokenizer.encode("Ça và")) == "c\u0327a va\u0300"


def test_full_case_keeps_capitals(tokenizer, full_case):
    assert full_case.decode(full_case.encode("Ça Và")) == "C\u0327a Va\u0300"
    assert tokenizer.encode("ABC") != full_case.encode("ABC")
    assert tokenizer.encode("abc", "fr") == full_case.encode("abc", "fr")


def test_full_case_leaves_kanji_as_they_are(full_case, monkeypatch):
    monkeypatch.setitem(sys.modules, "pykakasi", None)
    assert full_case.encode("日", "ja")[1:] == full_case.encode("日")


def test_other_names_of_the_preprocessing(folder, tokenizer):
    for name in ("legacy", "Lower, NFKD"):
        other = MultilingualTokenizer(folder / VOCABULARY, preprocessing=name)
        assert other.encode("É", "fr") == tokenizer.encode("É", "fr")
    with pytest.raises(CheckpointError, match="preprocessing"):
        MultilingualTokenizer(folder / VOCABULARY, preprocessing="rot13")


def test_korean_syllables_become_letters(tokenizer):
    assert tokenizer.encode("한 글 ", "ko") == tokenizer.encode(
        "\u1112\u1161\u11ab \u1100\u1173\u11af", "ko"
    )


def test_chinese_characters_become_codes_with_their_place(tmp_path, folder):
    table = tmp_path / "table.json"
    entries = ["日\ta", "曰\ta", "月\tb", "明\tab"]
    table.write_text(json.dumps(entries), encoding="utf-8")
    tokenizer = MultilingualTokenizer(folder / VOCABULARY, table)
    for character, keys in (("日", "a."), ("曰", "a1."), ("明", "ab.")):
        codes = "".join(f"[cj_{key}]" for key in keys)
        assert tokenizer.encode(character, "zh") == tokenizer.encode(codes, "zh")
        assert len(tokenizer.encode(character, "zh")) == 1 + len(keys)
    assert tokenizer.encode("中", "zh")[1:] == tokenizer.encode("中")


def test_letters_that_are_known(tokenizer):
    assert tokenizer.knows_any("hi", "en")
    assert tokenizer.knows_any("привет!", "ru")
    assert tokenizer.knows_any("你好", "zh")
    assert not tokenizer.knows_any("你好")
    assert not tokenizer.knows_any("...!?", "fr")
    assert not tokenizer.knows_any("", "zh")
    assert not tokenizer.knows_any("ᚠᚢᚦ", "en")


def test_the_configuration_chooses_the_tokenizer(folder, tmp_path):
    def config(tokenizer):
        return TextConfig(tokenizer, preprocessing="nfkd,fullcase")

    loaded = load_tokenizer(folder, config("multilingual"))
    assert isinstance(loaded, MultilingualTokenizer)
    assert loaded.keeps_case
    for kind in ("english", "multilingual", "gpt2"):
        with pytest.raises(CheckpointError, match="missing"):
            load_tokenizer(tmp_path, config(kind))
    with pytest.raises(CheckpointError, match="unknown tokenizer"):
        load_tokenizer(folder, config("runes"))
