"""Texts for ChatTTS: as upstream's where it is right, and nothing deleted in silence."""

from __future__ import annotations

import json
import warnings

import pytest

from mlx_chatterbox.errors import TextError
from mlx_chatterbox.text.chattts.characters import INVALID
from mlx_chatterbox.text.chattts.homophones import HomophoneTable
from mlx_chatterbox.text.chattts.normalize import ChatTTSNormalizer, left_out_note
from mlx_chatterbox.text.chattts.special_tokens import IN_TEXT, MARKS, TOKEN
from mlx_chatterbox.text.languages import notice
from tests.chattts_reference import values

PAIRS = values("text/normaliser_json")


def normal(text: str, **more):
    return ChatTTSNormalizer()(text, replace_homophones=False, **more)


def as_upstream(text: str, **more) -> str:
    return ChatTTSNormalizer(as_upstream=True)(text, replace_homophones=False, **more).text


@pytest.mark.parametrize(("text", "wanted"), PAIRS)
def test_upstreams_texts_are_its(text, wanted):
    assert as_upstream(text) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("It's 3 o'clock!", "Its three oclock."),
        ("Ready? Go.", "Ready. Go."),
        ("We'll see. I’m here, they've gone", "We will see. I am here, they have gone"),
        ("twenty-one well-known words", "twenty one well known words"),
        ("51 people", "Fifty one people"),
        ("wait … no — well", "wait , no , well"),
        ("naïve café, Straße, Æsop", "naive cafe, Strasse, AEsop"),
        ("two\nlines\tand\u00a0spaces\u3000here", "two lines and spaces here"),
        ("ａｂｃ　３", "abc three"),
        ("5 & 6", "Five and six"),
        ("他有３个苹果？", "他有三个苹果。"),
        ("增长了50％！", "增长了百分之五十。"),
        ("她说…好", "她说，好"),
        ("你好, 世界?", "你好， 世界。"),
        ("at 5 [laugh] and 6", "at five [laugh] and six"),
    ],
)
def test_what_upstream_deletes_is_written_out(text, wanted):
    assert normal(text).text == wanted
    assert as_upstream(text) != wanted


@pytest.mark.parametrize(
    ("text", "wanted"), [(text, wanted) for text, wanted in PAIRS if text == wanted]
)
def test_what_the_model_knows_stays_to_the_byte(text, wanted):
    result = normal(text)
    assert (result.text, result.left_out, result.simplified) == (wanted, (), ())


@pytest.mark.parametrize(
    ("text", "wanted", "left_out"),
    [
        ("a € b", "a euro b", ()),
        ("hello 🙂 world", "hello world", ("🙂",)),
        ("hello мир world", "hello  world", ("мир",)),
        ("日本の", "日本", ("の",)),
        ("one~two|three", "one two three", ("~", "|")),
        ("a~b", "a b", ("~",)),
        ("see a~b now", "see a b now", ("~",)),
        ("好~好 a~好", "好好 a好", ("~",)),
        ('say "yes"', "say yes", ('"',)),
        ("a [b", "a b", ("[",)),
        ("a [laugh", "a laugh", ("[",)),
        ("a] b", "a b", ("]",)),
        ("[[laugh]]", "[laugh]", ("[", "]")),
        ("hello [sigh] world", "hello world", ("[sigh]",)),
        ("hello [Ptts] world", "hello world", ("[Ptts]",)),
        ("hello [foo] world", "hello foo world", ()),
        ("hello [Laugh] world", "hello [laugh] world", ()),
    ],
)
def test_what_is_deleted_is_part_of_the_result(text, wanted, left_out):
    result = normal(text)
    assert result.text == wanted
    assert result.left_out == left_out


def test_marks_are_named_as_they_were_written():
    """Not as wide as they became in between."""
    result = normal("好~好-好! 好＋好 “好”", normalize=True)
    assert result.left_out == ("~", "＋", "“", "”")
    assert result.simplified == ("-", "!")


def test_nothing_else_is_left_in_a_text():
    every = "".join(chr(code) for code in range(0x20, 0x3000) if chr(code).isprintable())
    for form in (normal(every), normal(every, language="zh"), normal(every, normalize=False)):
        assert not INVALID.search(form.text)
    # All is said of what has no like: Greek, Cyrillic, Arabic.
    lost = "".join(normal("αω д ش").left_out)
    assert set("дش") <= set(lost)


def test_without_normalising_nothing_is_written_out():
    result = normal("5 & 6?", normalize=False)
    assert result.text == "  ."
    assert result.left_out == ("5", "&", "6")


def test_an_open_bracket_does_not_swallow_the_rest():
    for text in ("good [morning 好", "[", "a [uv_break b [laugh] c"):
        for form in (normal(text).text, as_upstream(text)):
            assert "[" not in TOKEN.sub("", form)
            assert form.count("[laugh]") == text.count("[laugh]")
            assert form.replace(" ", "").endswith(text[-1].replace("[", ""))


@pytest.mark.parametrize("token", sorted(IN_TEXT))
def test_sounds_and_manners_stay(token):
    assert normal(f"hello {token} 3").text == f"hello {token} three"


@pytest.mark.parametrize("mark", MARKS)
def test_marks_of_prompts_do_not_stay(mark):
    result = normal(f"hello {mark} world")
    assert mark not in result.text
    assert result.left_out == (mark,)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("hello world", "en"),
        ("你好 world", "zh"),
        ("你好 my world", "en"),
        ("", "en"),
        ("123", "en"),
        ("[uv_break]好", "zh"),
    ],
)
def test_the_language_is_that_of_most_words(text, language):
    assert normal(text).language == language


def test_a_named_language_decides():
    assert normal("hi, 2", language="zh").text == "hi， 二"
    assert normal("好, 2", language="en").text == "好, two"


def test_a_registered_function_takes_the_place_of_the_rules():
    normalizer = ChatTTSNormalizer()
    seen = []

    def spell(text: str) -> str:
        seen.append(text)
        return text.replace("3", "drei")

    assert normalizer.register("en", spell)
    trial = seen.pop()
    assert any("\u4e00" <= one <= "\u9fff" for one in trial)
    assert not normalizer.register("en", str.upper)
    assert normalizer("3 [laugh_0] 3", replace_homophones=False).text == "drei [laugh_0] drei"
    assert seen == ["3 ", " 3"]
    normalizer.unregister("en")
    normalizer.unregister("en")
    assert normalizer("3", replace_homophones=False).text == "Three"
    assert normalizer.register("en", str.upper)


def fails(text: str) -> str:
    raise ValueError(text)


@pytest.mark.parametrize("function", [fails, len, lambda text: None, "no function", lambda: ""])
def test_a_function_that_fails_its_trial_is_not_registered(function):
    normalizer = ChatTTSNormalizer()
    assert normalizer.register("en", function) is False
    assert normalizer("3", replace_homophones=False).text == "Three"


def test_a_function_that_fails_later_is_an_error_that_names_it():
    normalizer = ChatTTSNormalizer()
    for language, result in (("en", None), ("zh", ValueError("no"))):

        def moody(text: str, result=result):
            if "later" not in text:
                return text
            if result is None:
                return None
            raise result

        assert normalizer.register(language, moody)
        with pytest.raises(TextError, match=f"registered for '{language}'"):
            normalizer("later", language=language)


def test_homophones_come_from_a_table_that_the_user_names(tmp_path):
    path = tmp_path / "table.json"
    path.write_text(json.dumps({"驫": "标", "囍": "喜"}), encoding="utf-8")
    table = HomophoneTable.load(path)
    assert len(table) == 2
    normalizer = ChatTTSNormalizer(table)
    assert normalizer("驫驫囍好").text == "标标喜好"
    assert normalizer("驫好", replace_homophones=False).text == "驫好"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"驫": "标准"}', "one Chinese character"),
        ('{"a": "标"}', "one Chinese character"),
        ('{"驫": 3}', "one Chinese character"),
        ('["驫"]', "no JSON object"),
        ("{", "cannot be read"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, content, words):
    path = tmp_path / "table.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(TextError, match=words):
        HomophoneTable.load(path)
    with pytest.raises(TextError, match=r"other\.json"):
        HomophoneTable.load(tmp_path / "other.json")


def test_without_a_table_it_says_so_once_and_only_for_chinese(monkeypatch):
    monkeypatch.setattr(notice, "_warned", set())
    normalizer = ChatTTSNormalizer()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        normalizer("hello")
        normalizer("你好", replace_homophones=False)
    with pytest.warns(notice.FrontEndWarning, match="no table of homophones"):
        assert normalizer("你好").text == "你好"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        normalizer("你好")


def test_the_note_names_each_part_once_and_no_quotation_marks():
    texts = [normal("hello 🙂 мир"), normal('"мир" ~')]
    note = left_out_note(texts)
    assert note == "left out, since ChatTTS does not know it: '🙂', 'мир', '~'"
    assert left_out_note([normal('"hello"'), normal("it's")]) == ""


@pytest.mark.parametrize("text", [None, 5, b"hello", ["hello"]])
def test_what_is_no_text_is_refused(text):
    with pytest.raises(TextError, match="must be a str"):
        normal(text)
