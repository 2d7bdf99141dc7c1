"""Bounds of the guards, to the token, the decibel and the second."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from mlx_chatterbox.synthesis.monitor import (
    Plausible,
    TokenMonitor,
    cut,
    find_loop,
    frame_levels,
    judge_audio,
    judge_tokens,
    plausible,
    quiet_end,
)
from mlx_chatterbox.synthesis.retries import attempt_seed

RATE = 24000
PACE = 0.08
BOUNDS = Plausible(shortest=40, usual=100, longest=200)


@pytest.mark.parametrize(
    ("character", "letters"),
    [
        ("a", 1.0),
        ("я", 1.0),
        ("字", 3.0),
        ("々", 3.0),
        ("글", 2.7),
        ("か", 1.9),
        ("カ", 1.9),
        ("ع", 1.5),
        ("א", 1.5),
        ("क", 1.3),
        ("8", 5.0),
        ("+", 6.0),
        ("%", 6.0),
        (" ", 0.0),
        ("ABC ", 7.5),
    ],
)
def test_what_a_character_takes_in_latin_letters(character, letters):
    more = plausible(character * 200, PACE).usual - plausible("", PACE).usual
    assert more == pytest.approx(200 * letters * PACE * 25, abs=1)


def test_a_letter_by_itself_takes_as_long_as_one_of_an_abbreviation():
    for text in ("a b c ", "ABC ", "x, y "):
        letters = sum(map(str.isalpha, text))
        more = plausible(text * 50, PACE).usual - plausible("", PACE).usual
        pauses = 0.35 * 25 * 50 * text.count(",")
        assert more == pytest.approx(50 * 2.5 * letters * PACE * 25 + pauses, rel=0.01)


def test_a_text_of_two_letters():
    # 0.8 s before and after; half of the letters' time at least, twice the whole at most.
    assert plausible("ab", PACE) == Plausible(shortest=2, usual=24, longest=48)
    assert plausible("ab, ab. ab", PACE).usual == round(25 * (6 * PACE + 0.8 + 2 * 0.35))
    assert plausible("ab.", PACE).usual == 24


def test_numbers_signs_and_capitals_add_little_to_the_shortest_length():
    assert plausible("ab 12", PACE).shortest == plausible("abcd", PACE).shortest == 4
    assert plausible("ab + $ %", PACE).shortest == plausible("ab", PACE).shortest
    assert plausible("ABC", PACE).shortest == plausible("abc", PACE).shortest


def defined(tokens: list[int]) -> tuple[int, int] | None:
    """`find_loop` by its docstring's definition, token by token."""
    count, found = len(tokens), []

    def alike(period: int) -> list[bool]:
        return [i + period < count and tokens[i + period] == tokens[i] for i in range(count)]

    held = alike(1)
    for period in range(1, min(75, count - 25) + 1):
        same, wanted = alike(period), 50 if period == 1 else max(2 * period, 25)
        for start in range(count):
            within = sum(same[start : start + wanted])
            is_held = period > 1 and sum(held[start : start + wanted]) >= 0.8 * wanted
            if within >= 0.9 * wanted and not is_held:
                first = same.index(True, start)
                found.append((start + wanted + period, period, first))
    return min(found)[:0:-1] if found else None


def sequences(rng):
    """Loops and near loops of every kind, before and after other tokens."""
    for number in range(60):
        period = int(rng.choice([1, 1, 2, 3, 8, 12, 13, 20, 26, 75, 76]))
        turn = rng.integers(0, 3 if number % 3 else 6561, period)
        length = int(max(2 * period, 50 if period == 1 else 25) + period + rng.integers(-6, 6))
        loop = np.resize(turn, length)
        slips = rng.integers(0, length, int(rng.integers(0, 1 + length // 12)))
        loop[slips] = 6000
        before, after = (rng.integers(0, 6561, int(rng.integers(0, 30))) for _ in range(2))
        yield np.concatenate([before, loop, after if number % 2 else after[:0]]).tolist()


def test_loops_are_found_by_their_definition(rng):
    found = [(find_loop(tokens), defined(tokens)) for tokens in sequences(rng)]
    assert all(ours == wanted for ours, wanted in found)
    assert 15 < sum(wanted is None for _, wanted in found) < 45


def test_nine_tokens_in_ten_for_two_seconds_of_one_sound():
    assert find_loop([7] * 45) is None
    for count in range(46, 60):
        assert find_loop([7] * count) == (0, 1)
    # Five changes are tolerated in 51 tokens, but not in 50.
    runs = np.repeat([1, 2, 1, 2, 1, 2], [9, 9, 8, 8, 8, 9]).tolist()
    assert find_loop(runs) == (0, 1)
    assert find_loop(runs[1:]) is None
    # For any token: positions after the end equal none.
    for token in (0, 1, 2, 6560):
        assert find_loop([token] * 45) is None


def test_a_second_at_least_and_three_seconds_of_period_at_most(rng):
    words = rng.integers(0, 6561, 300).tolist()
    for length, found in ((25, True), (24, False)):
        tokens = words[:40] + (words[100:102] * 13)[:length] + words[200:240]
        assert (find_loop(tokens) == (40, 2)) is found
    assert find_loop(words[:75] * 4) == (0, 75)
    assert find_loop(words[:76] * 4) is None


def test_the_first_complete_of_two_loops_counts(rng):
    words = rng.integers(0, 6561, 200).tolist()
    # The longer begins first, the shorter is complete first.
    tokens = words[:60] * 2 + words[100:110] * 5 + words[:60] * 2
    assert find_loop(tokens) == (120, 10)
    # A period of ten is also one of twenty.
    assert find_loop(words[:10] * 9) == (0, 10)


def test_a_monitor_looks_once_a_second_and_far_enough_back(rng):
    for period in (1, 2, 40, 75):
        watch = TokenMonitor(Plausible(0, 1000, 2000))
        turn = rng.integers(0, 6561, period).tolist()
        tokens = rng.integers(0, 6561, 313).tolist() + turn * 300
        ended = [watch.add(token) for token in tokens[:700]].index(True) + 1
        least = 313 + (45 if period == 1 else period + max(2 * period, 25) - 20)
        assert least <= ended <= 313 + max(50, 3 * period, 25 + period) + 25
        assert ended % 25 == 0


def test_findings_come_in_an_order(rng):
    """The least bad of several attempts is kept: the most text and the smallest fault."""
    words = rng.integers(0, 6561, 400).tolist()
    loud, quiet = np.full(RATE, 0.1, np.float32), np.zeros(3 * RATE, np.float32)
    broken = np.full(RATE, np.nan, np.float32)

    def loop(start):
        return judge_tokens(words[:start] + words[380:390] * 9, BOUNDS, False)

    worst_first = [
        judge_tokens([], BOUNDS, False),
        judge_audio(broken, RATE),
        judge_audio(quiet, RATE),
        loop(1),
        loop(50),
        loop(90),
        judge_tokens(words[:201], BOUNDS, False),
        judge_tokens(words[:20], BOUNDS, False),
        judge_tokens(words[:39], BOUNDS, False),
        judge_audio(np.concatenate([loud, quiet, loud]), RATE),
        judge_audio(np.concatenate([loud, quiet]), RATE),
    ]
    weights = [finding.weight for finding in worst_first]
    assert all(before > after for before, after in itertools.pairwise(weights))
    assert loop(90).weight > 4.5  # which is worse than anything that merely ended early
    # As far over the usual length as under it, and no worse than an empty result.
    assert loop(90 + 50).weight == pytest.approx(loop(90 - 50).weight)
    assert loop(290).weight == pytest.approx(6.0)


def test_verdicts_on_tokens(rng):
    words = rng.integers(0, 6561, 400).tolist()
    held = judge_tokens(words[:30] + [7] * 60, BOUNDS, False)
    assert held.reason == "a loop: one sound held from 1.2 s on"
    assert held.keep_tokens == 35
    turned = judge_tokens(words[:30] + words[100:103] * 20, BOUNDS, True)
    assert turned.reason == "a loop: 0.12 s repeated from 1.2 s on"
    assert turned.keep_tokens == 33
    endless = judge_tokens(words[:201], BOUNDS, False)
    assert endless.reason.startswith("no end within 8.0 s")
    early = judge_tokens(words[:39], BOUNDS, False)
    assert early.reason == "an early end: 1.6 s, where the text takes 1.6 s at least"
    assert endless.keep_tokens is early.keep_tokens is None
    for count in (40, 200):
        assert judge_tokens(words[:count], BOUNDS, False) is None
    assert judge_tokens(words[:201], BOUNDS, True) is None


@pytest.mark.parametrize(
    ("usual", "reason", "is_final"),
    [
        (76, "cut off after 2.0 s, the model's own limit: the text takes 3 s", True),
        (75, "no end within 2.0 s, the model's own limit", False),
    ],
)
def test_the_models_own_limit(usual, reason, is_final):
    tokens = list(range(50))
    bounds = Plausible(shortest=40, usual=usual, longest=2 * usual)
    finding = judge_tokens(tokens, bounds, False, own_limit=50)
    assert (finding.reason, finding.is_final, finding.keep_tokens) == (reason, is_final, None)
    assert finding.weight == 4.0
    # The caller's limit is not a finding; more tokens than the text can take are one.
    assert judge_tokens(tokens, bounds, True, own_limit=50) is None
    endless = judge_tokens(tokens, Plausible(1, 20, 49), False, own_limit=50)
    assert "twice what the text takes" in endless.reason
    assert not endless.is_final
    assert "own limit" in judge_tokens(tokens, Plausible(1, 25, 50), False, own_limit=50).reason


def level(decibels: float, seconds: float) -> np.ndarray:
    return np.full(round(seconds * RATE), 10 ** (decibels / 20), np.float32)


def reason(*parts: np.ndarray) -> str:
    finding = judge_audio(np.concatenate(parts), RATE)
    return "" if finding is None else finding.reason


def test_levels_of_frames():
    # The last frame is filled up with silence.
    levels = frame_levels(np.concatenate([level(-20, 0.02), level(-40, 0.01)]), RATE)
    assert levels == pytest.approx([-20.0, -40.0 + 10 * np.log10(0.5)], abs=1e-3)
    assert frame_levels(np.zeros(0, np.float32), RATE) == pytest.approx([-120.0])
    assert frame_levels(np.zeros(480, np.float32), RATE) == pytest.approx([-120.0])


def test_how_loud_speech_is_at_least():
    assert reason(level(-50.5, 1)) == "silence"
    assert reason(level(-49.5, 1)) == ""
    assert reason(np.zeros(0, np.float32)) == "silence"
    # Frames are silent 45 dB under the loud frames, or under -65 dB of full scale.
    for speech, silent in ((-10, -55), (-40, -65)):
        assert reason(level(speech, 1), level(silent + 0.5, 3)) == ""
        assert "at the end" in reason(level(speech, 1), level(silent - 0.5, 3))


def test_how_long_silence_may_be():
    loud = level(-20, 1)
    for seconds, found in ((1.9, ""), (2.2, "2.2 s of silence within")):
        assert reason(loud, level(-90, seconds), loud) == found
        assert reason(level(-90, seconds), loud) == found
    # Silence may last two seconds at most, from one loud frame to the next.
    assert reason(level(-90, 2.0), loud) == reason(loud, level(-90, 1.98), loud) == ""
    assert reason(level(-90, 2.02), loud) == reason(loud, level(-90, 2.0), loud) != ""
    assert reason(level(-90, 2.5), loud, level(-90, 2.2), loud) == "2.5 s of silence within"
    for seconds, found in ((1.5, ""), (1.7, "1.7 s of silence at the end")):
        assert reason(loud, level(-90, seconds)) == found
    # The kept part ends 0.3 s after the speech, at a whole token.
    assert judge_audio(np.concatenate([loud, level(-90, 2)]), RATE).keep_tokens == 33


@pytest.mark.parametrize(("quiet", "found"), [(70, False), (90, True), (120, True), (140, False)])
def test_the_end_is_looked_for_about_the_usual_length(quiet, found):
    waveform = level(-20, 8)
    waveform[quiet * 960 - 3 * 960 : quiet * 960] = 1e-3
    kept = quiet_end(waveform, RATE, BOUNDS)
    assert (kept == quiet) is found
    assert 80 <= kept <= 130


def test_the_end_of_what_is_short():
    assert quiet_end(level(-20, 2), RATE, BOUNDS) == 50
    # As much as possible where all is equally quiet; the first of equal places.
    assert quiet_end(level(-20, 3.24), RATE, BOUNDS) == 80
    assert quiet_end(level(-20, 3.2), RATE, BOUNDS) == 80
    assert quiet_end(level(-20, 0.4), RATE, Plausible(0, 2, 4)) == 2
    waveform = level(-20, 0.2)
    waveform[: 3 * 960] = 1e-3
    assert quiet_end(waveform, RATE, Plausible(0, 3, 6)) == 3


def test_what_is_cut_off_fades_out():
    waveform = level(0, 1)
    kept = cut(waveform, RATE, 10)
    assert len(kept) == 9600
    np.testing.assert_array_equal(kept[:-480], waveform[: 9600 - 480])
    np.testing.assert_allclose(kept[-480:], 1 - np.arange(480) / 479, atol=1e-6)
    assert waveform.min() == 1.0  # the whole is left as it was
    assert len(cut(waveform, RATE, 0)) == 0
    assert len(cut(waveform, RATE, 99)) == RATE
    short = cut(waveform[:100], RATE, 10)
    assert (len(short), short[0], short[-1]) == (100, 1.0, 0.0)


def test_seeds_of_attempts_stay_what_they_are():
    """An update that changed them would give the same call other audio."""
    assert attempt_seed(7, 0) == 7
    assert attempt_seed(7, 1) == 4228751037375301439
    assert attempt_seed(2**64 - 1, 2) == 141888562753529491
