"""The multilingual tokenizer gives upstream's ids, in every language and on any string."""

import json
import random
from pathlib import Path

import pytest

from mlx_chatterbox.parity.fabricate.tokenizers import tokenizer_files
from mlx_chatterbox.parity.upstream.interpreter import find_interpreter, run_module
from mlx_chatterbox.text.languages import zh
from mlx_chatterbox.text.multilingual import SUPPORTED_LANGUAGES, MultilingualTokenizer
from mlx_chatterbox.text.normalize import punc_norm
from tests.text.sentences import LANGUAGES, sentences
from tests.text.test_reference_text import FIXED, random_text

pytestmark = [
    pytest.mark.reference,
    pytest.mark.filterwarnings("ignore::mlx_chatterbox.text.languages.notice.FrontEndWarning"),
]

VOCABULARY = "grapheme_mtl_merged_expanded_v1.json"
RANDOM_PER_LANGUAGE = 60
# Pkuseg's model is not in its package: a small one is trained, on sentences cut by hand.
CUT_BY_HAND = [
    "你好 ， 今天 天气 很 好 。",
    "我们 去 学校 学习 汉语 。",
    "老师 说 ： 我 爱 北京 ！",
    "他 想 吃 3 个 苹果 和 茶 吗 ？",
    "我们 今天 去 中国 的 学校 ， 是 不 是",
    "這 是 中國 的 東西 。",
]


def upstream(folder: Path, work: Path, texts: list, *options: str) -> dict[str, list]:
    source, output = work / "texts.json", work / "result.json"
    source.write_text(json.dumps(texts), encoding="utf-8")
    arguments = ["multilingual", "--checkpoint", str(folder), "--texts", str(source)]
    arguments += ["--output", str(output), *options]
    run_module(find_interpreter(), "parity.torch.text", arguments)
    return json.loads(output.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("multilingual")
    for name, text in tokenizer_files("multilingual").items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def segmenter_home(tmp_path_factory):
    """A folder like ~/.pkuseg after pkuseg's download."""
    pkuseg = pytest.importorskip("spacy_pkuseg")
    home = tmp_path_factory.mktemp("pkuseg")
    corpus = home / "corpus.txt"
    corpus.write_text("\n".join(CUT_BY_HAND * 5) + "\n", encoding="utf-8")
    pkuseg.train(str(corpus), str(corpus), str(home / zh.SEGMENTER_MODEL), train_iter=5)
    (home / f"{zh.SEGMENTER_MODEL}.zip").touch()  # what pkuseg looks for before it downloads
    return home


def ours(folder: Path, texts: list) -> tuple[list[str], list[list[int]]]:
    tokenizer = MultilingualTokenizer(folder / VOCABULARY)
    normalized = [punc_norm(text, "multilingual") for text, _ in texts]
    tokens = [
        tokenizer.encode(text, language)
        for text, (_, language) in zip(normalized, texts, strict=True)
    ]
    return normalized, tokens


def assert_equal(folder: Path, texts: list, expected: dict[str, list]):
    normalized, tokens = ours(folder, texts)
    assert normalized == expected["normalized"]
    different = [
        pair for pair, a, b in zip(texts, tokens, expected["tokens"], strict=True) if a != b
    ]
    assert different == []
    decode = MultilingualTokenizer(folder / VOCABULARY).decode
    assert [decode(ids) for ids in tokens] == expected["decoded"]


def test_every_language_on_sentences_and_random_strings(folder, tmp_path):
    pytest.importorskip("pykakasi")
    rng = random.Random(1)
    assert set(LANGUAGES) == set(SUPPORTED_LANGUAGES)
    texts = []
    for language in [*LANGUAGES, None]:
        texts += [[text, language] for text in sentences(language or "en")]
        texts += [[random_text(rng), language] for _ in range(RANDOM_PER_LANGUAGE)]
        texts += [[text, language] for text in FIXED]
    # A language's letters under another language's tag.
    texts += [
        [rng.choice(sentences(rng.choice(LANGUAGES))), rng.choice(LANGUAGES)] for _ in range(300)
    ]
    expected = upstream(folder, tmp_path, texts, "--no-segmentation")
    empty = tmp_path / "no-pkuseg"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PKUSEG_HOME", str(empty))
        assert_equal(folder, texts, expected)
    assert not empty.exists()


def test_chinese_words_are_set_apart_as_upstream_does(
    folder, tmp_path, segmenter_home, monkeypatch
):
    monkeypatch.setenv("PKUSEG_HOME", str(segmenter_home))
    rng = random.Random(2)
    texts = [[text, "zh"] for text in sentences("zh")]
    texts += [[random_text(rng) + rng.choice(sentences("zh")), "zh"] for _ in range(100)]
    expected = upstream(folder, tmp_path, texts)
    assert_equal(folder, texts, expected)
    monkeypatch.setenv("PKUSEG_HOME", str(tmp_path))
    assert ours(folder, texts[:64])[1] != expected["tokens"][:64]
