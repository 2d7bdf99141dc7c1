"""Front ends: what they do, and the one warning when one is missing."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from types import SimpleNamespace

import pytest

from mlx_chatterbox.errors import CheckpointError, TextError
from mlx_chatterbox.text.languages import he, ja, ko, notice, ru, zh
from mlx_chatterbox.text.languages.notice import FrontEndWarning


@pytest.fixture(autouse=True)
def nothing_said_or_loaded(monkeypatch, tmp_path):
    monkeypatch.setattr(notice, "_warned", set())
    monkeypatch.setenv("PKUSEG_HOME", str(tmp_path / "pkuseg"))
    monkeypatch.delenv(he.MODEL_VARIABLE, raising=False)
    caches = (ja._kakasi, zh._load_segmenter, he._dicta, ru._stresser)
    for cached in caches:
        cached.cache_clear()
    yield
    for cached in caches:
        cached.cache_clear()


def module(name: str, **members) -> SimpleNamespace:
    return SimpleNamespace(__name__=name, **members)


def quiet(function, *arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return function(*arguments)


def test_importing_the_tokenizers_imports_no_front_end():
    code = (
        "import sys, mlx_chatterbox.text.load; "
        "found = {'spacy_pkuseg', 'pykakasi', 'dicta_onnx', 'onnxruntime', "
        "'tokenizers', 'transformers', 'mlx.core'} & set(sys.modules); "
        "sys.exit(f'imported: {found}' if found else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# Korean


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("가", "\u1100\u1161"),
        ("각", "\u1100\u1161\u11a8"),
        ("힣", "\u1112\u1175\u11c2"),
        (" 한a ", "\u1112\u1161\u11aba"),
        ("\u1112", "\u1112"),
    ],
)
def test_korean(text, expected):
    assert ko.syllables_to_jamo(text) == expected


# Japanese


def test_japanese_readings(monkeypatch):
    words = [
        ("今日", "きょう"),
        ("は", "は"),
        ("葉書", "はがき"),
        ("部屋", "へや"),
        ("ガム", "がむ"),
    ]
    converted = [{"orig": word, "hira": reading} for word, reading in words]
    kakasi = SimpleNamespace(convert=lambda text: converted)
    monkeypatch.setitem(sys.modules, "pykakasi", module("pykakasi", kakasi=lambda: kakasi))
    # Only words with kanji are read; only their は and へ get a space; then NFKD.
    assert ja.kanji_to_hiragana("...") == "きょうは はか\u3099き へやカ\u3099ム"


def test_japanese_with_the_library():
    pytest.importorskip("pykakasi")
    assert ja.kanji_to_hiragana("学校へ行く") == "か\u3099っこうへいく"
    assert ja.kanji_to_hiragana("葉") == " は"


def test_japanese_without_the_library_is_an_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "pykakasi", None)
    with pytest.raises(TextError, match=r"mlx-chatterbox\[ja\]"):
        ja.kanji_to_hiragana("日本")


# Chinese


def test_chinese_without_a_table_goes_on_with_one_warning(tmp_path):
    converter = zh.CangjieConverter(tmp_path / "none.json")
    with pytest.warns(FrontEndWarning, match=r"none\.json is missing"):
        assert converter.codes("日本 a") == "日本 a"
    assert quiet(zh.CangjieConverter(tmp_path / "none.json").codes, "日") == "日"


def test_a_damaged_table_is_an_error(tmp_path):
    for content in ("{", "3", '["日"]', "[1]"):
        (tmp_path / "table.json").write_text(content, encoding="utf-8")
        with pytest.raises(CheckpointError, match=r"table\.json"):
            zh.CangjieConverter(tmp_path / "table.json").codes("日")


@pytest.fixture
def converter(tmp_path):
    table = tmp_path / "table.json"
    table.write_text(json.dumps(["日\ta", "曰\ta", "国\twg", "日\tz"]), encoding="utf-8")
    return zh.CangjieConverter(table)


def test_codes(converter):
    # A character's last line gives its keys; places count all lines of equal keys.
    assert converter.codes("日曰") == "[cj_z][cj_.][cj_a][cj_1][cj_.]"
    assert converter.codes("国か,A") == "[cj_w][cj_g][cj_.]か,A"


def test_without_a_segmenter_nothing_is_downloaded(converter, monkeypatch, tmp_path):
    def pkuseg(*arguments):
        raise AssertionError("would have gone to the network")

    monkeypatch.setitem(sys.modules, "spacy_pkuseg", module("spacy_pkuseg", pkuseg=pkuseg))
    with pytest.warns(FrontEndWarning, match=r"mlx-chatterbox\[zh\].*spacy_pkuseg"):
        assert converter("国国") == converter.codes("国国")
    assert quiet(converter, "国") == converter.codes("国")
    assert not (tmp_path / "pkuseg").exists()


def test_with_a_segmenter_words_stand_apart(converter, monkeypatch, tmp_path):
    folder = tmp_path / "pkuseg" / zh.SEGMENTER_MODEL
    folder.mkdir(parents=True)
    (folder / "weights.npz").touch()
    (folder / "features.msgpack").touch()
    given = []

    def pkuseg(model):
        given.append(model)
        return SimpleNamespace(cut=lambda text: [text[:1], text[1:]])

    monkeypatch.setitem(sys.modules, "spacy_pkuseg", module("spacy_pkuseg", pkuseg=pkuseg))
    assert quiet(converter, "国国a") == "[cj_w][cj_g][cj_.] [cj_w][cj_g][cj_.]a"
    assert quiet(converter, "国") == "[cj_w][cj_g][cj_.] "
    assert given == [str(folder)]  # pkuseg reads a folder, but would download a name
    monkeypatch.setitem(sys.modules, "spacy_pkuseg", None)
    zh._load_segmenter.cache_clear()
    with pytest.warns(FrontEndWarning, match="not installed"):
        assert converter("国国") == converter.codes("国国")


# Hebrew


def test_hebrew_without_a_model_goes_on_with_one_warning():
    with pytest.warns(FrontEndWarning, match=he.MODEL_VARIABLE):
        assert he.add_points("שלום") == "שלום"
    assert quiet(he.add_points, "שלום") == "שלום"


@pytest.fixture
def dicta(monkeypatch):
    class Model:
        def predict(self, texts):
            return [text.replace("ש", "ש\u05c1") for text in texts]

    def session(path):
        return SimpleNamespace(get_inputs=list, get_outputs=list)

    monkeypatch.setitem(sys.modules, "dicta_onnx", module("dicta_onnx"))
    model = module("dicta_onnx.model", OnnxDiacritizationModel=Model)
    monkeypatch.setitem(sys.modules, "dicta_onnx.model", model)
    runtime = module("onnxruntime", InferenceSession=session)
    monkeypatch.setitem(sys.modules, "onnxruntime", runtime)


def test_hebrew_with_a_model(dicta, monkeypatch, tmp_path, small_upstream):
    model = tmp_path / "dicta.onnx"
    with pytest.raises(TextError, match="not a file"):
        he.add_points("שלום", model)
    model.touch()
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)
    with pytest.raises(TextError, match=r"tokenizer\.json of dicta-il"):
        he.add_points("שלום", model)
    (tmp_path / "tokenizer.json").write_bytes((small_upstream / "tokenizer.json").read_bytes())
    assert quiet(he.add_points, "שלום", model) == "ש\u05c1לום"
    monkeypatch.setenv(he.MODEL_VARIABLE, str(model))
    assert quiet(he.add_points, "שלום") == "ש\u05c1לום"


def test_hebrew_with_a_model_but_no_library_is_an_error(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "dicta_onnx", None)
    monkeypatch.setitem(sys.modules, "dicta_onnx.model", None)
    with pytest.raises(TextError, match=r"mlx-chatterbox\[he\]"):
        he.add_points("שלום", tmp_path / "dicta.onnx")


# Russian


def test_russian_without_a_library_goes_on_with_one_warning(monkeypatch):
    for name in ("russian_text_stresser", "russian_text_stresser.text_stresser"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.warns(FrontEndWarning, match="stress"):
        assert ru.add_stress("привет") == "привет"
    assert quiet(ru.add_stress, "привет") == "привет"


def use_stresser(monkeypatch, stress_text):
    name = "russian_text_stresser"
    monkeypatch.setitem(sys.modules, name, module(name))
    stresser = module(name, RussianTextStresser=lambda: SimpleNamespace(stress_text=stress_text))
    monkeypatch.setitem(sys.modules, f"{name}.text_stresser", stresser)


def test_russian_by_upstreams_library(monkeypatch):
    use_stresser(monkeypatch, lambda text: text.replace("е", "е\u0301"))
    assert quiet(ru.add_stress, "привет") == "приве\u0301т"


def test_errors_of_the_library_are_reported(monkeypatch):
    def fail(text):
        raise RuntimeError("no dictionary")

    use_stresser(monkeypatch, fail)
    with pytest.raises(TextError, match="no dictionary"):
        ru.add_stress("привет")
