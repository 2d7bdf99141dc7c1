"""Word errors: counting them, and comparing two models on the same sentences."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from mlx_chatterbox.recognition.held_out import HELD_OUT
from mlx_chatterbox.recognition.recogniser import MissingRecogniser, Recogniser
from mlx_chatterbox.recognition.word_errors import (
    comparable_words,
    count_word_errors,
    edit_distance,
    excess_errors,
)
from mlx_chatterbox.train.pocket.texts import held_out_templates, is_held_out


@pytest.mark.parametrize(
    ("expected", "transcript", "errors"),
    [
        ("", "", 0),
        ("a b c", "a b c", 0),
        ("a b c", "", 3),
        ("", "a b", 2),
        ("a b c", "a x c", 1),
        ("a b c", "b c", 1),
        ("a b c", "a b b c", 1),
        ("a b c d", "b c d a", 2),
    ],
)
def test_edit_distance(expected, transcript, errors):
    assert edit_distance(expected.split(), transcript.split()) == errors


def test_numbers_case_and_punctuation_do_not_count():
    assert comparable_words("Twenty-five BOATS, 3!") == ["twenty", "five", "boats", "three"]


def test_errors_are_counted_over_all_sentences():
    texts = ["I have 2 cats.", "It rains."]
    transcripts = {"I have 2 cats.": "i have two hats", "It rains.": "it rains a lot"}
    spoken = []

    def speak(text: str) -> np.ndarray:
        spoken.append(text)
        return np.zeros(10, np.float32)

    result = count_word_errors(texts, speak, lambda waveform: transcripts[spoken[-1]])
    assert spoken == texts
    assert (result.words, result.errors, result.rate) == (6, 3, 0.5)
    assert result.transcripts == [(1, texts[0], "i have two hats"), (2, texts[1], "it rains a lot")]


def test_without_pocketsphinx_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    with pytest.raises(MissingRecogniser, match=r"pip install 'mlx-chatterbox\[recognition\]'"):
        Recogniser()


def test_equal_errors_are_not_an_excess():
    assert excess_errors([2, 0, 1], [2, 0, 1], 30) == (0.0, 0.0)


def test_one_error_more_in_every_sentence_is_certain_and_ten_in_one_sentence_are_not():
    before = np.random.default_rng(1).integers(6, size=100)
    excess, at_least = excess_errors(before, before + 1, 1000)
    assert excess == pytest.approx(0.1) == at_least
    one = before.copy()
    one[7] += 10
    excess, at_least = excess_errors(before, one, 1000)
    assert excess == pytest.approx(0.01)
    assert at_least == 0.0


def test_fewer_errors_are_below_zero():
    before = np.full(50, 2)
    excess, at_least = excess_errors(before, before - (np.arange(50) % 2), 500)
    assert excess == pytest.approx(-0.05)
    assert at_least < excess


def test_chance_alone_seldom_gives_a_lower_bound_above_zero():
    rng = np.random.default_rng(3)
    above = [
        excess_errors(rng.poisson(2, 100), rng.poisson(2, 100), 700, confidence=0.9)[1] > 0
        for _ in range(200)
    ]
    assert 5 <= sum(above) <= 40  # about a tenth


def test_held_out_sentences_are_held_out_and_none_comes_twice():
    assert all(map(is_held_out, HELD_OUT))
    assert len(set(HELD_OUT)) == len(HELD_OUT) == 50


def test_held_out_templates_are_the_same_for_a_seed_and_none_comes_twice():
    texts = held_out_templates(21, 40)
    assert texts == held_out_templates(21, 40) != held_out_templates(22, 40)
    assert len(set(texts)) == 40
    assert all(map(is_held_out, texts))
