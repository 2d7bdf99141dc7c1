"""Comparing the word errors of two models on the same sentences."""

from __future__ import annotations

import numpy as np
import pytest

from mlx_chatterbox.train.pocket.judging import excess
from mlx_chatterbox.train.pocket.texts import held_out_templates, is_held_out


def test_alike_is_no_excess():
    assert excess([2, 0, 1], [2, 0, 1], 30) == (0.0, 0.0)


def test_what_every_sentence_loses_is_certain_and_what_one_loses_is_not():
    before = np.random.default_rng(1).integers(6, size=100)
    more, at_least = excess(before, before + 1, 1000)
    assert more == pytest.approx(0.1) == at_least
    one = before.copy()
    one[7] += 10
    more, at_least = excess(before, one, 1000)
    assert more == pytest.approx(0.01)
    assert at_least == 0.0


def test_fewer_errors_are_below_zero():
    before = np.full(50, 2)
    more, at_least = excess(before, before - (np.arange(50) % 2), 500)
    assert more == pytest.approx(-0.05)
    assert at_least < more


def test_chance_alone_is_seldom_sure():
    rng = np.random.default_rng(3)
    sure = [
        excess(rng.poisson(2, 100), rng.poisson(2, 100), 700, likely=0.9)[1] > 0 for _ in range(200)
    ]
    assert 5 <= sum(sure) <= 40  # about a tenth


def test_held_out_sentences_are_the_same_for_a_seed_and_none_comes_twice():
    texts = held_out_templates(21, 40)
    assert texts == held_out_templates(21, 40) != held_out_templates(22, 40)
    assert len(set(texts)) == 40
    assert all(map(is_held_out, texts))
