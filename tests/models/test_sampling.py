"""Each step from logits to a token, for MLX's arrays and NumPy's alike."""

from __future__ import annotations

import math
from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest

from mlx_chatterbox.errors import SettingError
from mlx_chatterbox.models.decoder.sampling import (
    gumbel_noise,
    keep_min_p,
    keep_top_k,
    keep_top_p,
    penalise_repetition,
)
from mlx_chatterbox.models.decoder.steppers import guide
from mlx_chatterbox.models.t3.config import T3Config
from mlx_chatterbox.models.t3.sampler import SpeechSampler
from mlx_chatterbox.models.t3.sampling import SamplingSettings, process_logits

LIBRARIES = pytest.mark.parametrize("array", [mx.array, np.array], ids=["mlx", "numpy"])


def logits_of(probabilities, array):
    return array(np.log(np.array(probabilities, np.float32)))


def kept(logits) -> list[list[int]]:
    """Numbers of the tokens of each row that can still be drawn; the others never are."""
    logits = np.array(logits)
    assert not np.isnan(logits).any()
    assert logits.max() < np.inf
    return [np.flatnonzero(row).tolist() for row in logits > -np.inf]


@LIBRARIES
@pytest.mark.parametrize("penalty", [0.5, 1.25, 2.0])
def test_a_penalty_makes_seen_tokens_less_likely_and_no_other(array, penalty):
    """Negative logits are multiplied by the penalty, since division would raise them."""
    logits = np.array([[-4.0, -0.5, 0.0, 0.5, 4.0], [4.0, 0.5, 0.0, -0.5, -4.0]], np.float32)
    seen = np.array([[True] * 5, [True, False, True, False, True]])
    penalised = np.array(penalise_repetition(array(logits), array(seen), penalty))
    moved = np.sign(logits - penalised) * (1 if penalty > 1 else -1)
    np.testing.assert_array_equal(moved, np.where(seen & (logits != 0), 1, 0))
    # By the same factor for either sign: in a logarithm as far up as down.
    factor = np.abs(penalised / np.where(logits == 0, 1, logits))
    positive, negative = seen & (logits > 0), seen & (logits < 0)
    np.testing.assert_allclose(factor[positive], 1 / penalty, rtol=1e-6)
    np.testing.assert_allclose(factor[negative], penalty, rtol=1e-6)


@LIBRARIES
def test_neutral_settings_change_nothing(array):
    logits = array(np.array([[3.0, -1.0, 0.5]], np.float32))
    seen = array(np.array([[True, True, False]]))
    off = SamplingSettings(1.0, 1.0, 0.0, 1.0, 0)
    for same in (
        penalise_repetition(logits, seen, 1.0),
        keep_min_p(logits, 0.0),
        keep_top_k(logits, 0),
        keep_top_k(logits, 3),
        keep_top_p(logits, 1.0),
        process_logits(logits, seen, off),
        process_logits(logits, seen, replace(off, temperature=0.0)),
    ):
        np.testing.assert_array_equal(np.array(same), np.array(logits))


@LIBRARIES
def test_min_p_is_a_share_of_the_likeliest(array):
    logits = logits_of([[0.5, 0.3, 0.12, 0.06, 0.02], [0.2, 0.2, 0.2, 0.2, 0.2]], array)
    assert kept(keep_min_p(logits, 0.2)) == [[0, 1, 2], [0, 1, 2, 3, 4]]
    assert kept(keep_min_p(logits, 0.5)) == [[0, 1], [0, 1, 2, 3, 4]]
    assert kept(keep_min_p(logits, 1.0)) == [[0], [0, 1, 2, 3, 4]]


@LIBRARIES
def test_top_k_keeps_the_likeliest_and_their_equals(array):
    logits = logits_of([[0.1, 0.4, 0.2, 0.3], [0.3, 0.2, 0.2, 0.3]], array)
    assert kept(keep_top_k(logits, 1)) == [[1], [0, 3]]
    assert kept(keep_top_k(logits, 2)) == [[1, 3], [0, 3]]
    assert kept(keep_top_k(logits, 3)) == [[1, 2, 3], [0, 1, 2, 3]]
    assert kept(keep_top_k(logits, 4)) == kept(keep_top_k(logits, 9)) == [[0, 1, 2, 3]] * 2


@LIBRARIES
@pytest.mark.parametrize(
    ("top_p", "tokens"), [(0.3, [1]), (0.45, [1, 3]), (0.75, [1, 2, 3]), (0.95, [0, 1, 2, 3])]
)
def test_top_p_is_the_smallest_set_that_holds_so_much(array, top_p, tokens):
    logits = logits_of([[0.1, 0.4, 0.2, 0.3], [0.25, 0.25, 0.25, 0.25]], array)
    # The scale of logits means nothing.
    for shift in (0.0, 30.0):
        cut = keep_top_p(logits + shift, top_p)
        assert kept(cut)[0] == tokens
        assert len(kept(cut)[1]) == math.ceil(4 * top_p)
        values, given = np.array(cut), np.array(logits + shift)
        np.testing.assert_array_equal(values[np.isfinite(values)], given[np.isfinite(values)])


@LIBRARIES
def test_the_likeliest_token_always_stays(array):
    logits = logits_of([[0.1, 0.4, 0.2, 0.3]], array)
    assert kept(keep_top_p(logits, 1e-9)) == [[1]]
    assert kept(keep_top_p(logits * 0.0, 1e-9)) in ([[0]], [[1]], [[2]], [[3]])


@LIBRARIES
def test_min_p_comes_after_temperature(array):
    logits = logits_of([[0.6, 0.3, 0.1]], array)
    seen = array(np.zeros((1, 3), bool))
    for temperature, tokens in ((0.5, [0]), (1.0, [0, 1]), (4.0, [0, 1, 2])):
        settings = SamplingSettings(temperature, 1.0, 0.4, 1.0)
        processed = process_logits(logits, seen, settings)
        assert kept(processed) == [tokens]
        expected = np.array(logits)[0, tokens] / temperature
        np.testing.assert_allclose(np.array(processed)[0, tokens], expected, rtol=1e-6)


@LIBRARIES
def test_the_penalty_comes_first_for_the_llama_and_last_for_gpt2(array):
    """First, it can cost a token its place among the likeliest; last, it no longer can."""
    logits = array(np.array([[2.0, 1.5, 1.0]], np.float32))
    seen = array(np.array([[True, False, False]]))
    first = process_logits(logits, seen, SamplingSettings(1.0, 4.0, 0.0, 1.0, 2, "penalty_first"))
    last = process_logits(logits, seen, SamplingSettings(1.0, 4.0, 0.0, 1.0, 2, "penalty_last"))
    assert (kept(first), kept(last)) == ([[1, 2]], [[0, 1]])
    np.testing.assert_array_equal(np.array(last)[0, :2], [0.5, 1.5])
    # The latter knows no min-p.
    settings = SamplingSettings(1.0, 1.0, 0.9, 1.0, order="penalty_last")
    assert kept(process_logits(logits, seen, settings)) == [[0, 1, 2]]


def test_half_precision_logits_are_processed_in_single():
    logits = mx.array([[1.0, 2.0, 3.0]], dtype=mx.float16)
    processed = process_logits(logits, mx.zeros((1, 3), dtype=mx.bool_), SamplingSettings())
    assert processed.dtype == mx.float32


@LIBRARIES
def test_guidance_goes_from_the_conditional_row_away_from_the_other(array):
    """Integers, so that nothing is rounded."""
    conditional = np.array([[1.0, -2.0, 4.0], [0.0, 8.0, -6.0]], np.float32)
    unconditional = np.array([[3.0, -2.0, 0.0], [2.0, 4.0, 6.0]], np.float32)
    for weights, expected in (
        ((0.0, 0.0), conditional),
        ((-1.0, -1.0), unconditional),
        ((1.0, 1.0), 2 * conditional - unconditional),
        ((0.5, 0.5), 1.5 * conditional - 0.5 * unconditional),
        ((0.0, 1.0), np.stack([conditional[0], 2 * conditional[1] - unconditional[1]])),
    ):
        column = np.array(weights, np.float32)[:, None]
        given = (array(one) for one in (conditional, unconditional, column))
        np.testing.assert_array_equal(np.array(guide(*given)), expected)
    # A row without guidance has one row of logits.
    own = array(conditional)
    column = array(np.zeros((2, 1), np.float32))
    np.testing.assert_array_equal(np.array(guide(own, own, column)), conditional)


def test_at_temperature_0_the_likeliest_is_drawn_whatever_the_key():
    logits = mx.random.normal((4, 30), key=mx.random.key(2))
    sampler = SpeechSampler(T3Config())
    for seed in range(3):
        keys = mx.random.split(mx.random.key(seed), 4)
        drawn = sampler.draw(logits, keys, SamplingSettings(temperature=0.0))
        np.testing.assert_array_equal(np.array(drawn), np.array(logits).argmax(axis=1))
    keys = mx.random.split(mx.random.key(0), 4)
    assert not mx.array_equal(sampler.draw(logits, keys, SamplingSettings()), logits.argmax(axis=1))


def test_noise_of_a_draw_depends_on_its_key_alone():
    keys = mx.random.split(mx.random.key(1), 6).reshape(2, 3, 2)
    noise = gumbel_noise(keys, 50)
    assert noise.shape == (2, 3, 50)
    assert len({tuple(row) for row in np.array(noise).reshape(6, 50).tolist()}) == 6
    np.testing.assert_array_equal(np.array(noise[1, 2]), np.array(gumbel_noise(keys[1, 2:], 50))[0])


@pytest.mark.parametrize(
    ("name", "allowed", "refused"),
    [
        ("temperature", (0.0, 5.0), (-0.01, math.inf, math.nan)),
        ("repetition_penalty", (0.01, 9.0), (0.0, -1.0, math.inf, math.nan)),
        ("min_p", (0.0, 0.5, 1.0), (-0.01, 1.01, math.nan)),
        ("top_p", (0.01, 1.0), (0.0, 1.01, math.nan)),
        ("top_k", (0, 1, 5000), (-1,)),
        ("order", ("penalty_first", "penalty_last"), ("penalty", "")),
    ],
)
def test_ranges_of_the_settings(name, allowed, refused):
    for value in allowed:
        assert getattr(SamplingSettings(**{name: value}), name) == value
    for value in refused:
        with pytest.raises(SettingError, match=name.replace("order", "order must be one of")):
            SamplingSettings(**{name: value})


def test_the_defaults_are_upstreams_for_english():
    settings = SamplingSettings()
    assert (settings.temperature, settings.repetition_penalty) == (0.8, 1.2)
    assert (settings.min_p, settings.top_p, settings.top_k) == (0.05, 1.0, 0)
    assert settings.order == "penalty_first"
