"""Faults that guards recognise in tokens and audio, and what they leave alone."""

from __future__ import annotations

import numpy as np
import pytest

from mlx_chatterbox.synthesis import monitor
from mlx_chatterbox.synthesis.monitor import (
    TokenMonitor,
    find_loop,
    judge_audio,
    judge_tokens,
    plausible,
)

RATE = 24000
PACE = 0.075
TEXT = "The weather is warm today, and the birds are singing."


@pytest.fixture
def written(rng):
    """Random tokens, as many as the text takes."""
    return rng.integers(0, 6561, plausible(TEXT, PACE).usual).tolist()


def speech(rng, seconds: float, level: float = 0.1) -> np.ndarray:
    return (level * rng.standard_normal(int(seconds * RATE))).astype(np.float32)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Hello.", 1.2),
        (TEXT, 4.2),
        ("It costs $19.99, which is 30% less than last year.", 6.9),
        ("你好，世界。今天天气很好。", 3.8),
        ("こんにちは、世界。", 2.2),
        ("안녕하세요, 세계.", 2.6),
        ("Привет, мир. Сегодня хорошая погода.", 3.7),
        ("नमस्ते दुनिया।", 1.6),
        ("The BBC and the USA.", 2.8),
        ("Oh [laugh] no.", 2.2),
    ],
)
def test_a_text_takes_as_long_as_reading_it_aloud(text, seconds):
    bounds = plausible(text, PACE)
    assert bounds.usual / 25 == pytest.approx(seconds, rel=0.15)
    assert bounds.shortest < bounds.usual / 2 < bounds.usual < bounds.longest
    assert bounds.longest == pytest.approx(2 * bounds.usual, abs=1)


def test_letters_by_themselves_take_as_long_as_their_names():
    """pocket spells the alphabet in 6 to 8 s."""
    bounds = plausible("A B C D E F G H I J K L M N O P Q R S T U V W X Y Z.", PACE)
    assert bounds.longest > 8 * 25
    assert plausible("Option a, b or c.", PACE).usual > plausible("Option ab or.", PACE).usual


def test_the_models_pace_counts():
    assert plausible(TEXT, 0.15).usual > 1.6 * plausible(TEXT, 0.075).usual


def test_a_tag_may_be_nothing_or_a_second():
    with_tag, without = plausible("Oh [laugh] no.", PACE), plausible("Oh no.", PACE)
    assert with_tag.usual - without.usual in (24, 25)
    assert with_tag.shortest == without.shortest


@pytest.mark.parametrize("period", [2, 7, 30, 75])
def test_a_loop_is_found_where_it_begins(rng, period):
    before = rng.integers(0, 6561, 40).tolist()
    turn = rng.integers(0, 6561, period).tolist()
    count = max(3, -(-26 // period) + 1)
    found = find_loop(before + turn * count)
    assert found is not None
    start, of = found
    assert start == 40
    assert of == period


def test_a_loop_with_a_slip_now_and_then_is_one(rng):
    turn = rng.integers(0, 6561, 20).tolist()
    tokens = rng.integers(0, 6561, 30).tolist() + turn * 4
    tokens[55] = tokens[77] = 6560
    found = find_loop(tokens)
    assert found is not None
    assert found[1] == 20
    assert 29 <= found[0] <= 36


def test_a_held_sound_is_a_loop_after_two_seconds(rng):
    before = rng.integers(0, 6561, 20).tolist()
    assert find_loop(before + [7] * 45) is None
    assert find_loop(before + [7] * 60) == (20, 1)


def test_a_phrase_spoken_twice_is_not_a_loop(rng, written):
    phrase = rng.integers(0, 6561, 40).tolist()
    assert find_loop(phrase + phrase + written) is None
    assert find_loop(written) is None
    assert find_loop([]) is None


def test_a_loop_is_kept_once(rng, written):
    bounds = plausible(TEXT, PACE)
    turn = rng.integers(0, 6561, 25).tolist()
    finding = judge_tokens(written[:50] + turn * 4, bounds, is_cut_off=False)
    assert "loop" in finding.reason
    assert "1.00 s repeated from 2.0 s" in finding.reason
    assert finding.keep_tokens == 75


def test_too_many_and_too_few_tokens(rng, written):
    bounds = plausible(TEXT, PACE)
    assert judge_tokens(written, bounds, is_cut_off=False) is None
    long = rng.integers(0, 6561, bounds.longest + 1).tolist()
    assert "no end" in judge_tokens(long, bounds, is_cut_off=False).reason
    short = written[: bounds.shortest - 1]
    assert "early end" in judge_tokens(short, bounds, is_cut_off=False).reason
    # The caller's own limit is not a finding.
    assert judge_tokens(short, bounds, is_cut_off=True) is None
    assert "no token" in judge_tokens([], bounds, is_cut_off=True).reason


def test_a_monitor_ends_runaway_decoding_and_nothing_else(rng, written):
    bounds = plausible(TEXT, PACE)
    watch = TokenMonitor(bounds)
    assert not any(watch.add(token) for token in written)
    watch = TokenMonitor(bounds)
    endless = rng.integers(0, 6561, 1000).tolist()
    assert [watch.add(token) for token in endless].index(True) == bounds.longest
    watch = TokenMonitor(bounds)
    turn = rng.integers(0, 6561, 20).tolist()
    # Three turns, and the check that comes every second.
    assert [watch.add(token) for token in turn * 20].index(True) < 85


def test_good_audio_is_left_alone(rng):
    pause = np.zeros(RATE, np.float32)
    assert judge_audio(speech(rng, 2), RATE) is None
    assert judge_audio(np.concatenate([speech(rng, 1), pause, speech(rng, 1)]), RATE) is None


def test_silence_within_at_the_end_and_throughout(rng):
    pause = speech(rng, 2.5, 1e-5)
    said = speech(rng, 1)
    assert judge_audio(np.zeros(RATE, np.float32), RATE).reason == "silence"
    assert judge_audio(speech(rng, 1, 1e-4), RATE).reason == "silence"
    assert (
        "2.5 s of silence within" in judge_audio(np.concatenate([said, pause, said]), RATE).reason
    )
    assert "silence within" in judge_audio(np.concatenate([pause, said]), RATE).reason
    finding = judge_audio(np.concatenate([said, pause]), RATE)
    assert "2.5 s of silence at the end" in finding.reason
    assert 25 < finding.keep_tokens < 40
    said[100] = np.nan
    assert "NaN or Inf" in judge_audio(said, RATE).reason


def test_what_has_no_end_is_cut_at_a_quiet_place(rng):
    bounds = plausible(TEXT, PACE)
    endless = speech(rng, bounds.longest / 25)
    place = bounds.usual + 6
    endless[place * 960 : (place + 3) * 960] *= 0.01
    kept = monitor.quiet_end(endless, RATE, bounds)
    assert kept == place + 3
    audio = monitor.cut(endless, RATE, kept)
    assert len(audio) == kept * 960
    np.testing.assert_array_equal(audio[:-480], endless[: kept * 960 - 480])
    assert audio[-1] == 0.0
