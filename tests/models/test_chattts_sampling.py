"""ChatTTS's sampler: upstream's probabilities, and the rules that upstream breaks."""

from __future__ import annotations

from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest

from mlx_chatterbox.errors import SettingError
from mlx_chatterbox.models.chattts.config import GPTConfig
from mlx_chatterbox.models.chattts.sampler import CodeSampler, TextSampler
from mlx_chatterbox.models.chattts.sampling import RECENT, ChatTTSSampling, process_logits
from mlx_chatterbox.models.decoder.sampling import keep_top_p, penalise_recent
from tests.chattts_reference import reference, values

pytestmark = pytest.mark.numbers

CASES = values("notes")["sampler"]
LIBRARIES = pytest.mark.parametrize("array", [mx.array, np.array], ids=["mlx", "numpy"])
OFF = ChatTTSSampling(1.0, None, None, 1.0)
STOP = 625


def settings_of(case: dict) -> ChatTTSSampling:
    return ChatTTSSampling(
        case["temperature"],
        case["top_P"],
        case["top_K"],
        case["repetition_penalty"],
        case["min_new_token"],
    )


def probabilities(logits) -> np.ndarray:
    logits = np.array(logits)
    assert logits.dtype == np.float32
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


@LIBRARIES
@pytest.mark.parametrize("name", CASES)
def test_probabilities_are_upstreams(name, array):
    case = CASES[name]
    logits, history, wanted = (
        reference()[f"sampler/{name}/{kind}"] for kind in ("logits", "history", "probabilities")
    )
    processed = process_logits(
        array(logits), array(history), settings_of(case), case["eos"], case["step"]
    )
    actual = probabilities(processed)
    np.testing.assert_array_equal(actual > 0, wanted > 0)
    np.testing.assert_allclose(actual, wanted, atol=1e-6)


def test_the_cases_differ_in_what_they_use():
    """Otherwise a rule that is left out would not be noticed."""
    assert {"default", "per_codebook", "min_new", "top_p_tiny"} <= set(CASES)
    base = reference()["sampler/default/logits"], reference()["sampler/default/history"]
    case = CASES["default"]
    kept = settings_of(case)
    usual = process_logits(*base, kept, STOP, case["step"])
    for other in (
        replace(kept, temperature=(0.3, 0.3, 0.3, 0.4)),
        replace(kept, top_p=0.5),
        replace(kept, repetition_penalty=2.0),
    ):
        assert (process_logits(*base, other, STOP, case["step"]) != usual).any()


@LIBRARIES
def test_a_token_is_penalised_for_each_time_among_the_last_sixteen(array):
    logits = array(np.array([[2.0, -2.0, 1.0, 3.0]], np.float32))
    history = [3] * 5 + [0, 1, 1, 0, 0] + [2] * (RECENT - 5)
    assert len(history) == RECENT + 5
    settings = replace(OFF, repetition_penalty=1.5)
    actual = np.array(process_logits(logits, array(np.array([history])), settings, STOP, 9))
    wanted = [[2 / 1.5**3, -2 * 1.5**2, 1 / 1.5**11, 3.0]]
    np.testing.assert_allclose(actual, wanted, rtol=1e-5)


@LIBRARIES
def test_the_penalty_of_text_tokens_is_each_rows_own(array):
    """Upstream's text mode raises an error there."""
    size = 21178
    logits = array(np.ones((2, size), np.float32))
    history = array(np.array([[21177, 700, 700], [5, 5, 5]]))
    settings = replace(OFF, repetition_penalty=2.0)
    actual = np.array(process_logits(logits, history, settings, 21136, 3))
    wanted = np.ones((2, size))
    wanted[0, 21177], wanted[0, 700], wanted[1, 5] = 1 / 2, 1 / 4, 1 / 8
    np.testing.assert_array_equal(actual, wanted)


@LIBRARIES
def test_the_penalty_reaches_every_row_of_a_large_batch(array):
    """Upstream leaves out the rows from 625 on, where it means the stop code."""
    rows = 640
    logits = array(np.ones((rows, 626), np.float32))
    history = array(np.tile([[7, STOP]], (rows, 1)))
    settings = replace(OFF, repetition_penalty=2.0)
    actual = np.array(process_logits(logits, history, settings, STOP, 2))
    assert (actual[:, 7] == 0.5).all()
    assert (np.delete(actual, 7, axis=1) == 1).all()


@LIBRARIES
def test_entries_that_stand_for_none_count_for_nothing(array):
    logits = array(np.array([[1.0, 2.0, 3.0]], np.float32))
    for history in (np.full((1, RECENT), -1), np.zeros((1, 0), np.int64)):
        np.testing.assert_array_equal(
            np.array(penalise_recent(logits, array(history), 2.0)), np.array(logits)
        )


@LIBRARIES
@pytest.mark.parametrize("kept", [1, 2, 3])
def test_so_many_of_the_likeliest_stay_in_any_case(array, kept):
    logits = array(np.log(np.array([[0.9, 0.05, 0.03, 0.02]], np.float32)))
    left = np.array(keep_top_p(logits, 1e-6, kept))[0] > -np.inf
    assert left.tolist() == [i < kept for i in range(4)]


@LIBRARIES
@pytest.mark.parametrize("filters", [{"top_p": 0.0}, {"top_k": 1}, {"top_p": 0.01, "top_k": 2}])
def test_three_tokens_stay(array, filters):
    logits = array(np.array([[9.0, 1.0, 0.0, 5.0, 4.0]], np.float32))
    processed = process_logits(
        logits, array(np.zeros((1, 0), np.int64)), replace(OFF, **filters), STOP, 0
    )
    assert np.flatnonzero(np.array(processed)[0] > -np.inf).tolist() == [0, 3, 4]


@LIBRARIES
def test_the_stop_token_is_banned_after_the_filters_and_before_the_minimum(array):
    logits = array(np.array([[1.0, 2.0, 3.0, 4.0, 9.0]], np.float32))
    none = array(np.zeros((1, 0), np.int64))
    settings = replace(OFF, top_k=3, min_new_tokens=2)
    for step, tokens in ((0, [2, 3]), (1, [2, 3]), (2, [2, 3, 4])):
        processed = np.array(process_logits(logits, none, settings, 4, step))
        assert np.flatnonzero(processed[0] > -np.inf).tolist() == tokens


def test_each_codebook_has_its_temperature_in_every_row():
    logits = np.tile(np.array([1.0, 2.0], np.float32), (8, 1))
    settings = replace(OFF, temperature=[1.0, 2.0, 4.0, 8.0])
    actual = process_logits(logits, np.zeros((8, 0), int), settings, STOP, 0)
    np.testing.assert_array_equal(actual, logits / np.tile([[1], [2], [4], [8]], (2, 1)))
    with pytest.raises(SettingError, match="4 temperatures for 6"):
        process_logits(logits[:6], np.zeros((6, 0), int), settings, STOP, 0)


def draw(logits, settings, keys):
    sampler = TextSampler(GPTConfig())
    return sampler.draw(logits, keys, sampler.alike(settings, 0))


def test_a_draw_depends_on_its_rows_key_alone():
    logits = mx.array(np.random.default_rng(0).normal(size=(8, 626)).astype(np.float32))
    keys = mx.random.split(mx.random.key(3), 8)
    together = draw(logits, OFF, keys).tolist()
    assert [draw(logits[i : i + 1], OFF, keys[i : i + 1]).item() for i in range(8)] == together
    assert draw(logits, OFF, mx.random.split(mx.random.key(4), 8)).tolist() != together


def test_draws_follow_the_distribution():
    logits = mx.log(mx.array([[0.6, 0.3, 0.1]]))
    keys = mx.random.split(mx.random.key(0), 4000)
    drawn = np.array(draw(mx.broadcast_to(logits, (4000, 3)), OFF, keys))
    np.testing.assert_allclose(np.bincount(drawn) / 4000, [0.6, 0.3, 0.1], atol=0.03)


def test_temperature_zero_takes_the_likeliest_of_its_codebook():
    codes, settings = CodeSampler(GPTConfig(num_vq=2)), replace(OFF, temperature=(0.0, 1.0))
    logits = np.tile(np.array([0.0, 0.01], np.float32), (2, 1))
    processed = process_logits(logits, np.zeros((2, 0), int), settings, STOP, 0)
    np.testing.assert_array_equal(processed, logits)
    drawn = [
        codes.draw(mx.array(processed)[None], keys[None], codes.alike(settings, 0))[0].tolist()
        for keys in (mx.random.split(mx.random.key(seed), 2) for seed in range(30))
    ]
    assert {first for first, _ in drawn} == {1}
    assert {second for _, second in drawn} == {0, 1}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"temperature": -1}, "temperature must be 0"),
        ({"temperature": float("nan")}, "temperature must be 0"),
        ({"temperature": "0.3"}, "for each codebook"),
        ({"temperature": []}, "for each codebook"),
        ({"temperature": None}, "for each codebook"),
        ({"temperature": 1.1e9}, "temperature must be 0"),
        ({"temperature": 9e-7}, "temperature must be 0"),
        ({"temperature": (0.3, True)}, "temperature must be 0"),
        ({"top_p": 1.5}, "top_p must be None"),
        ({"top_p": -0.1}, "top_p must be None"),
        ({"top_k": 2**31}, "top_k must be None"),
        ({"min_new_tokens": 2**31}, "min_new_tokens must be"),
        ({"top_k": 0}, "top_k must be None"),
        ({"top_k": 2.5}, "top_k must be None .* whole number"),
        ({"repetition_penalty": 0}, "repetition_penalty must be from"),
        ({"repetition_penalty": None}, "repetition_penalty must be from"),
        ({"min_new_tokens": -1}, "min_new_tokens must be a whole number"),
    ],
)
def test_settings_outside_their_range_are_refused(wrong, words):
    with pytest.raises(SettingError, match=words):
        ChatTTSSampling(**wrong)


@pytest.mark.parametrize(
    "values",
    [
        {"temperature": 1e9},
        {"temperature": (1e-6, 0, 1, 2)},
        {"top_p": 0},
        {"top_p": 1},
        {"top_k": 1},
        {"top_k": 2**31 - 1},
        {"min_new_tokens": 2**31 - 1},
        {"repetition_penalty": 1e9},
    ],
)
def test_settings_at_the_ends_of_their_range_are_taken(values):
    for name, value in values.items():
        assert getattr(ChatTTSSampling(**values), name) == value


def test_the_defaults_are_upstreams_of_speech():
    assert ChatTTSSampling() == settings_of(CASES["default"])
    assert ChatTTSSampling() == ChatTTSSampling(0.3, 0.7, 20, 1.05, 0)


def test_settings_can_be_keys():
    """Rows of equal settings are drawn together."""
    one, two = (ChatTTSSampling(temperature=kind([0.1, 0.2])) for kind in (list, np.array))
    assert len({one, two}) == 1
