"""Text: our `punc_norm` and English tokenizer equal upstream's on any string."""

import random

import pytest

from mlx_chatterbox.parity.fabricate.english import tokenizer_json
from mlx_chatterbox.parity.upstream.interpreter import find_interpreter
from mlx_chatterbox.parity.upstream.jobs import torch_texts
from mlx_chatterbox.text.normalize import punc_norm
from mlx_chatterbox.text.tokenizer import EnglishTokenizer

pytestmark = pytest.mark.reference

COUNT = 3000
WORDS = ["the", "rain", "in", "Spain", "stays", "MAINLY", "don't", "3.5", "km/h", "naïve", "I'm"]
WORDS += ["[laughter]", "[STOP]", "[SPACE]", "[START]", "[UNK]", "nation", "shouting"]
PUNCTUATION = ["...", "…", ":", " - ", ";", "—", "–", " ,", "“", "”", "‘", "’", "!", "?", ".", ","]
PUNCTUATION += ["....", "-", "--", "'", '"', "(", ")", ",,", "?!", "。", "、", "！", " . ", "…."]
SPACES = [" ", "  ", "\t", "\n", "\r\n", "\u00a0", "\u2003", "\u3000", "\x0b", "\x1c", "\u2028"]
SPACES += ["\u200b", "\ufeff", "\u0085"]
UNICODE = [
    "é",
    "ß",
    "ŉ",
    "ǆ",
    "ﬁ",
    "Ω",
    "ж",
    "क",
    "漢字",
    "한",
    "日",
    "e\u0301",
    "İ",
    "ı",
    "😀",
    "👩‍🚀",
]
UNICODE += ["\u202e", "\U0001d400", "ⅻ", "ⓐ", "\x00", "\x7f"]
FIXED = ["", " ", "\n", ".", "...", "…", "-", "–", "a", "ß", "ŉ", "“", " ,", "  hello", "hello  "]


def random_text(rng: random.Random) -> str:
    """Runs of one kind after another: words, punctuation, spaces, letters, anything printable."""
    kinds = [
        lambda: rng.choice(WORDS),
        lambda: rng.choice(PUNCTUATION) * rng.randint(1, 3),
        lambda: rng.choice(SPACES) * rng.randint(1, 2),
        lambda: " ",
        lambda: rng.choice(UNICODE),
        lambda: "".join(chr(rng.randint(32, 126)) for _ in range(rng.randint(1, 8))),
    ]
    return "".join(rng.choice(kinds)() for _ in range(rng.randint(1, 14)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    (folder / "tokenizer.json").write_text(tokenizer_json(), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def texts():
    rng = random.Random(0)
    return FIXED + [random_text(rng) for _ in range(COUNT)]


@pytest.fixture(scope="module")
def upstream(folder, texts):
    return torch_texts(find_interpreter(), folder, texts)


def test_normalised_texts_are_equal(texts, upstream):
    assert [punc_norm(text) for text in texts] == upstream["normalized"]


def test_tokens_are_equal(folder, upstream):
    tokenizer = EnglishTokenizer(folder / "tokenizer.json")
    assert [tokenizer.encode(text) for text in upstream["normalized"]] == upstream["tokens"]


def test_tokens_read_back_are_equal(folder, upstream):
    tokenizer = EnglishTokenizer(folder / "tokenizer.json")
    assert [tokenizer.decode(ids) for ids in upstream["tokens"]] == upstream["decoded"]
