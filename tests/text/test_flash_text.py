"""Upstream's cleaner for Chatterbox-Flash, against its own outputs, and Flash's own texts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlx_chatterbox.errors import SettingError, TextError
from mlx_chatterbox.longform.job import Job
from mlx_chatterbox.longform.wording import job_writing
from mlx_chatterbox.models.config import ModelConfig, TextConfig
from mlx_chatterbox.parity.fabricate.tokenizers import tokenizer_files
from mlx_chatterbox.synthesis.request import check_options
from mlx_chatterbox.synthesis.splitting import TextSplitter
from mlx_chatterbox.text.flash.cleaner import en_us_cleaner
from mlx_chatterbox.text.normalize import punc_norm
from mlx_chatterbox.text.tokenizer import EnglishTokenizer
from mlx_chatterbox.text.unread import UnreadWarning
from mlx_chatterbox.text.writing import writing_for
from mlx_chatterbox.weights.variants import VARIANTS

DATA = Path(__file__).parents[1] / "data"
CASES = json.loads((DATA / "flash-text.json").read_text(encoding="utf-8"))
# Steps of the cleaner that those do not reach; outputs of upstream's package 0.1.0 too.
MORE = json.loads((DATA / "flash-text-more.json").read_text(encoding="utf-8"))
FLASH = VARIANTS["flash"].default_config()
# Of the cases that upstream fails on: the part that the message names.
FAILING = {
    "It is £.50.": "'£.50.'",
    "a price of $1,000-$2,000 each": "'$2,000'",
    "minus -1234567 and on": "'-1234567'",
    "€.5": "'€.5'",
    "only $,555": "'$,555'",
}


@pytest.mark.parametrize("case", [*CASES, *MORE], ids=lambda case: case["in"][:24])
def test_the_cleaner_equals_upstreams(case):
    if "raises" in case:
        with pytest.raises(TextError, match=rf"{case['raises']}.*normalize=True"):
            en_us_cleaner(case["in"])
    else:
        assert en_us_cleaner(case["in"]) == case["out"]


def test_all_cases_are_there():
    assert len(CASES) == 57
    assert sum("raises" in case for case in CASES) == 2


@pytest.mark.parametrize("text", FAILING)
def test_texts_that_upstream_fails_on_are_named(text):
    with pytest.raises(TextError) as caught:
        en_us_cleaner(text)
    message = str(caught.value)
    assert FAILING[text] in message
    assert "\n" not in message


def test_numbers_of_more_digits_than_python_converts_stay():
    assert en_us_cleaner("9" * 5000) == "9" * 5000


# --- The choice ----------------------------------------------------------------------------------


def splitter(normalize, folder, config: ModelConfig = FLASH) -> TextSplitter:
    path = folder / "tokenizer.json"
    path.write_text(tokenizer_files("english")["tokenizer.json"], encoding="utf-8")
    return TextSplitter(config, EnglishTokenizer(path), normalize=normalize)


def texts_of(split: TextSplitter, text: str) -> list[str]:
    return [piece.text for piece in split.split([text], [""])[0]]


def ids_of(split: TextSplitter, text: str) -> list[int]:
    return split.split([text], [""])[0][0].ids.tolist()


def test_our_rules_write_flashs_texts_out_unless_told_otherwise(tmp_path):
    assert texts_of(splitter(None, tmp_path), "It cost $5.50.") == [
        "It cost five dollars and fifty cents."
    ]
    assert texts_of(splitter("upstream", tmp_path), "It cost $5.50.") == [
        "It cost five dollars, five0 cents."
    ]
    with pytest.warns(UnreadWarning, match="digits are read"):
        assert texts_of(splitter(False, tmp_path), "It cost $5.50.") == ["It cost $5.50."]


def test_the_tokens_of_upstreams_cleaner_are_those_of_its_text(tmp_path):
    """Neither a capital nor a full stop is added, and no dash replaced: "three - four items"."""
    split = splitter("upstream", tmp_path)
    tokenizer = EnglishTokenizer(tmp_path / "tokenizer.json")
    for text in ("3-4 items", "a well-known plan", "hello there"):
        assert ids_of(split, text) == [255, *tokenizer.encode(en_us_cleaner(text)), 0]


def test_pauses_stay_pauses(tmp_path):
    pieces = splitter("upstream", tmp_path).split(["1 cat [pause 2s] 2 dogs"], [""])[0]
    assert [(piece.text, piece.pause_after) for piece in pieces] == [
        ("one cat", 2.0),
        ("two dogs", 0.0),
    ]


def test_flashs_marks_are_those_of_its_training():
    text = "A well-known \u201cplan\u201d \u2013 really,  x-ray 5-6\u2026"
    expected = "A well known \u201cplan\u201d, really, x ray 5 - 6..."
    assert punc_norm(text, "flash") == expected
    assert punc_norm("hello", "flash") == "hello"
    assert punc_norm(text, "unchanged") == text


@pytest.mark.parametrize("config", [TextConfig(), VARIANTS["turbo"].default_config().text])
def test_other_models_have_no_upstream_cleaner(config):
    with pytest.raises(SettingError, match="Chatterbox-Flash"):
        writing_for(config, None, "upstream")


@pytest.mark.parametrize("value", ["Upstream", "yes", 2, 1.5, []])
def test_other_values_are_refused(value):
    with pytest.raises(SettingError, match="normalize must be True"):
        check_options({"normalize": value})


@pytest.mark.parametrize("value", ["upstream", True, False, None, 1])
def test_values_that_are_taken(value):
    check_options({"normalize": value})


def test_a_job_has_no_upstream_cleaner(tmp_path):
    """Its texts are stored as they were written out, and its setting is yes or no."""
    with Job(tmp_path / "job", 24000) as job:
        with pytest.raises(SettingError, match="a job has no normalize='upstream'"):
            job_writing(job, None, None, None, "upstream")
        assert job.normalizes is None
