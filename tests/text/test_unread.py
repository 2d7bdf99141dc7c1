"""Letters and tags that a model does not know: left out, and named."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest

from mlx_chatterbox import ChatterboxTTS
from mlx_chatterbox.errors import TextError
from mlx_chatterbox.generate import main
from mlx_chatterbox.parity.fabricate.gpt2 import TAGS as PUBLISHED
from mlx_chatterbox.parity.fabricate.tokenizers import tokenizer_files
from mlx_chatterbox.text.load import load_tokenizer
from mlx_chatterbox.text.reading import read_text
from mlx_chatterbox.text.tags import TAGS, find_tags, without
from mlx_chatterbox.text.unread import UnreadWarning, quoted_list
from mlx_chatterbox.weights.variants import VARIANTS

FAST = {"n_cfm_timesteps": 1, "watermark": False}
COMMON = ["--model", "pocket", "--seed", "1", "--no-watermark", "--cfm-steps", "1"]


@pytest.fixture(scope="module")
def tts() -> ChatterboxTTS:
    return ChatterboxTTS.from_pretrained("pocket")


@pytest.fixture(scope="module")
def read(tts, tmp_path_factory):
    """Function that reads a text as a variant does; warnings are errors unless text is unread."""
    known = {"pocket": (tts.tokenizer, tts.checkpoint.config)}
    for variant in ("english", "multilingual", "turbo"):
        config = VARIANTS[variant].default_config()
        folder = tmp_path_factory.mktemp(variant)
        for name, content in tokenizer_files(config.text.tokenizer).items():
            (folder / name).write_text(content, encoding="utf-8")
        known[variant] = load_tokenizer(folder, config.text), config

    def reading(variant, text, language="en"):
        tokenizer, config = known[variant]
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            found = read_text(
                text, tokenizer, config, language if variant == "multilingual" else None
            )
        messages = [str(one.message) for one in said]
        messages = [one for one in messages if one.startswith(("not read", "unknown tag"))]
        assert len(messages) == bool(found.unread)
        for one in found.unread:
            assert one in messages[0]
        return found

    return reading


ALL = ["pocket", "english", "multilingual", "turbo"]


@pytest.mark.parametrize("variant", ALL)
@pytest.mark.parametrize(
    "text",
    [
        "Hello there.",
        "It's \u201cfine\u201d \u2013 really\u2026 (yes); isn't it?",
        "One, two: three!\nFour.",
        "On 4 May it was 5 or 6.",
    ],
)
def test_an_ordinary_text_is_read_in_full(read, variant, text):
    assert read(variant, text).unread == ()


@pytest.mark.parametrize(
    ("variant", "text", "unread"),
    [
        ("pocket", "Then hello мир and bye.", ("мир",)),
        ("english", "Then hello мир and bye.", ("мир",)),
        ("multilingual", "Then hello мир and bye.", ()),
        ("turbo", "Then hello мир and bye.", ()),
        ("pocket", "Привет мир, hello to you.", ("Привет", "мир")),
        ("english", "мир, Мир and мир.", ("мир", "Мир")),
        ("pocket", "I say hi 🙂 to 👨‍👩‍👧 now.", ("🙂", "👨‍👩‍👧")),
        ("english", "I say hi 🙂 to you.", ("🙂",)),
        ("multilingual", "I say hi 🙂 to you.", ("🙂",)),
        ("pocket", "A café, naïve.", ()),
        ("english", "A café.", ("é",)),
        ("english", "A cafe\u0301.", ("e\u0301",)),
        ("pocket", "In Łódź, 5 + 3 at 20°C.", ("Ł",)),
        ("pocket", "For $5, or 50%.", ()),
        ("pocket", "日本 and hi.", ("日本",)),
        ("multilingual", "日本 and hi.", ("日本",)),
    ],
)
def test_what_is_not_known_is_named(read, variant, text, unread):
    assert read(variant, text).unread == unread


def test_the_language_decides_what_is_known(read):
    assert read("multilingual", "你好 and hi", "en").unread == ("你好",)
    assert read("multilingual", "你好 and hi", "zh").unread == ()


def test_no_known_letter_at_all_is_an_error(read):
    for variant in ("pocket", "english"):
        with pytest.raises(TextError, match="none of the letters"):
            read(variant, "Привет мир.")


def test_reporting_unread_text_changes_no_token(read, tts):
    """Reported letters still reach upstream's tokenizer."""
    found = read("english", "Then hello мир and bye.")
    assert found.ids.count(1) == 3  # [UNK]
    assert (
        read("pocket", "Then hello мир and bye.").ids == read("pocket", "Then hello and bye.").ids
    )


def test_the_list_of_tags_is_the_published_one():
    assert set(TAGS) == set(PUBLISHED)


@pytest.mark.parametrize(
    ("text", "tags", "left"),
    [
        ("Oh [laugh], no.", ["[laugh]"], "Oh, no."),
        ("[Laugh] Oh [SIGH].", ["[Laugh]", "[SIGH]"], "Oh."),
        ("He [laughs] and [ clear throat ] goes.", ["[laughs]", "[ clear throat ]"], None),
        ("Well <laugh> and <sigh>.", ["<laugh>", "<sigh>"], "Well and."),
        ("It is [clear_throat] so.", ["[clear_throat]"], "It is so."),
        ("No (laugh) and *laughs*.", [], None),
        ("See [x], [1], [sic] and [link](http://a.b) or 3 < 4 > 2.", [], None),
    ],
)
def test_tags_are_found(text, tags, left):
    assert find_tags(text) == tags
    if left is not None:
        assert without(text, tags) == left


@pytest.mark.parametrize("variant", ["pocket", "english", "multilingual"])
@pytest.mark.parametrize("tag", ["[laugh]", "[Laugh]", "[laughs]", "<laugh>", "[clear throat]"])
def test_a_tag_on_a_model_without_it_is_left_out_and_reported(read, variant, tag):
    found = read(variant, f"Oh {tag}, no.")
    assert found.unread == (tag,)
    assert found.ids == read(variant, "Oh, no.").ids


@pytest.mark.parametrize("variant", ["pocket", "english", "multilingual"])
def test_tags_alone_are_nothing_to_speak(read, variant):
    with pytest.raises(TextError, match="nothing to speak in '\\[laugh\\]' but tags"):
        read(variant, "[laugh]")


def test_a_tag_that_the_vocabulary_has_goes_to_the_model_as_upstreams_does(read):
    assert read("english", "Oh [sigh] no.").unread == ()
    assert read("pocket", "Oh [sigh] no.").unread == ("[sigh]",)


def test_other_text_in_brackets_is_spoken(read):
    pocket = read("pocket", "A [x] and [1] and [old link](b c).")
    assert pocket.unread == ()
    assert pocket.ids == read("pocket", "A ,x, and ,one, and ,old link,b c.").ids
    assert read("english", "A [x] and [old man].").unread == ()
    assert read("pocket", "Oh (laugh), no.").ids == read("pocket", "Oh, laugh, no.").ids


def test_turbo_keeps_its_tags_and_leaves_out_what_it_lacks(read):
    assert read("turbo", "Oh [laugh], no.").unread == ()
    assert read("turbo", "Oh [laughs] <laugh> no.").unread == ("[laughs]", "<laugh>")
    link = read("turbo", "The [old link](http://a.b).")
    assert link.unread == ()


def test_brackets_that_the_vocabulary_lacks_are_left_out(read, tts):
    """Brackets are not read as unknown signs."""
    tokenizer = tts.tokenizer
    assert tokenizer.unread("[]") == ()  # pocket separates words by them

    class WithoutBrackets:
        def __getattr__(self, name):
            return getattr(tokenizer, name)

        def unread(self, text):
            return tuple(one for one in text if one in "[]")

    config = tts.checkpoint.config
    assert read_text("A [dog] ran.", WithoutBrackets(), config, None).ids == (
        read_text("A dog ran.", tokenizer, config, None).ids
    )


def test_the_outcome_names_it(tts):
    with pytest.warns(UnreadWarning, match="мир"):
        marked = tts.generate("Then hello мир and [laugh] bye.", seed=1, **FAST)
    assert tts.outcomes[0].unread == ("мир", "[laugh]")
    np.testing.assert_array_equal(marked, tts.generate("Then hello and bye.", seed=1, **FAST))
    assert tts.outcomes[0].unread == ()
    with pytest.warns(UnreadWarning):
        list(tts.stream("Hello мир.", seed=1, **FAST))
    assert tts.outcomes[0].unread == ("мир",)
    with pytest.warns(UnreadWarning):
        tts.generate_batch(["Hello.", "Hello мир."], seed=1, **FAST)
    assert [one.unread for one in tts.outcomes] == [(), ("мир",)]


def test_what_has_no_words_is_in_the_outcome_too(tts):
    """Such text never reaches the model where texts are normalised."""
    for normalize in (None, False):
        with pytest.warns(UserWarning, match="🙂"):
            tts.generate("Hi 🙂, мир. [pause 0.1s] Bye.", seed=1, normalize=normalize, **FAST)
        assert [one.unread for one in tts.outcomes] == [("🙂", "мир"), ()]
        with pytest.warns(UserWarning, match="🙂"):
            list(tts.stream("Hi 🙂 there.", seed=1, normalize=normalize, **FAST))
        assert [one.unread for one in tts.outcomes] == [("🙂",)]


def test_unread_letters_do_not_count_as_missing_speech(tts):
    """A guard compares the speech with the text that is read."""
    text = "Хорошо сказано, дорогой мой старый друг и товарищ, добрый вечер: yes."
    with pytest.warns(UnreadWarning):
        tts.generate(text, seed=1, **FAST)
    assert [(one.verdict, one.tries) for one in tts.outcomes] == [("", 1)]


def lines(capsys) -> list[str]:
    return [one for one in capsys.readouterr().err.splitlines() if "not read" in one]


@pytest.mark.parametrize("how", [[], ["--stream"]])
def test_the_command_line_reports_unread_text_once(tmp_path, capsys, how):
    words = ["--text", "Then hello мир and bye 🙂.", *COMMON, *how]
    assert main([*words, "--output", str(tmp_path / "a.wav")]) == 0
    (line,) = lines(capsys)
    assert "'мир'" in line
    assert "'🙂'" in line


LONG = "The first part of it all is here, and it is as long as a part that stands alone can be."


def test_a_job_reports_and_records_unread_text(tmp_path, capsys):
    (tmp_path / "a.txt").write_text(
        f"{LONG}\n\nThen hello мир and bye 🙂. {LONG}\n\nПривет, {'мир ' * 30}.\n", encoding="utf-8"
    )
    output = tmp_path / "a.wav"
    assert main(["--file", str(tmp_path / "a.txt"), *COMMON, "--output", str(output)]) == 1
    error = capsys.readouterr().err
    assert "not read in piece 2: '🙂', 'мир'" in error
    assert "piece 3 could not be spoken and is left out" in error
    manifest = Path(f"{output}.job/manifest.json")
    pieces = json.loads(manifest.read_text(encoding="utf-8"))["pieces"]
    assert pieces[1]["unread"] == ["🙂", "мир"]
    assert pieces[1]["outcome"] == "good"
    assert "unread" not in pieces[0]


def test_a_batch_and_its_report_name_unread_text(tmp_path, capsys):
    (tmp_path / "rows.csv").write_text("text\nHello there мир.\nHello.\n", encoding="utf-8")
    words = ["--batch", str(tmp_path / "rows.csv"), "--output-dir", str(tmp_path / "out"), *COMMON]
    assert main(words) == 0
    (line,) = lines(capsys)
    assert "row 1 (0001.wav): 'мир'" in line
    report = (tmp_path / "out" / "report.csv").read_text(encoding="utf-8").splitlines()
    assert "not read: 'мир'" in report[1]
    assert report[2].endswith(",")


def test_long_lists_are_shortened():
    many = [f"слово{n}" for n in range(30)]
    assert quoted_list(many) == "'слово0', 'слово1', 'слово2', 'слово3' and 26 more"
    assert len(quoted_list(["й" * 500])) < 40


def show(capsys, *words) -> tuple[list[str], str]:
    code = main(["--model", "pocket", "--show-text", *words])
    out, err = capsys.readouterr()
    assert code == 0
    return out.splitlines(), err


def test_a_tag_alone_between_pauses_costs_nothing_but_itself(tts):
    text = "Hello there. [pause 1s] [laugh] [pause 0.5s] Good bye."
    with pytest.warns(UnreadWarning, match=r"does not know it: '\[laugh\]'"):
        waveform = tts.generate(text, seed=1, **FAST)
    assert [one.unread for one in tts.outcomes] == [("[laugh]",), ()]
    # Both pauses stay.
    (_, end), (start, _) = tts.spans
    assert start - end >= 1.5 * tts.sr - 1
    assert np.abs(waveform[end + 4800 : start - 4800]).max() < 1e-3


def test_text_is_shown_as_it_is_spoken_without_unknown_tags(capsys):
    lines, err = show(capsys, "--text", "Oh [laugh] no. [pause 0.5s] [sigh] [pause 2s] So [x].")
    assert lines == ["Oh no.", "So [x]."]
    assert "left out, since the model has no such tag: '[laugh]'" in err
    # The seconds of a pause are not spoken, so that they are not unknown either.
    assert show(capsys, "--no-normalize", "--text", "One. [pause 12s] Two.")[1] == ""


def test_what_a_font_of_its_own_shows_is_named_by_its_number(tts, capsys):
    with pytest.warns(UnreadWarning, match=r"U\+F0B7"):
        tts.generate("\uf0b7 Milk and honey.", seed=1, **FAST)
    assert tts.outcomes[0].unread == ("\uf0b7",)
    assert "'U+F0B7'" in show(capsys, "--text", "\uf0b7 Milk.")[1]


def test_an_emoji_is_reported_once(capsys, tmp_path):
    words = [*COMMON, "--text", "Hello 😀 you.", "--output", str(tmp_path / "a.wav")]
    assert main(words) == 0
    err = capsys.readouterr().err
    assert err.count("😀") == 1
    assert "not read in piece 1 of 1: '😀'" in err
    assert "left out, since it has no words: 😀" in show(capsys, "--text", "Hello 😀.")[1]
