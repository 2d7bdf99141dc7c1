"""Further tries and joined texts, with tokens and sounds that a test has chosen; no network."""

from __future__ import annotations

from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest

from mlx_chatterbox.errors import AudioError, TextError
from mlx_chatterbox.synthesis.assembling import Joining
from mlx_chatterbox.synthesis.monitor import Outcome, plausible, seed_of_try
from mlx_chatterbox.synthesis.request import Batch
from mlx_chatterbox.synthesis.retries import (
    MOST_TRIES,
    Spoken,
    Utterance,
    Written,
    judge_written,
    speak_guarded,
    speak_unguarded,
)
from mlx_chatterbox.synthesis.synthesizer import audible_tokens
from mlx_chatterbox.text.pauses import Breath

RATE = 24000
PACE = 0.075
TEXT = "The weather is warm today."
BOUNDS = plausible(TEXT, PACE)
WELL = list(range(BOUNDS.usual))
SHORT = list(range(BOUNDS.shortest - 1))
SHORTER = list(range(BOUNDS.shortest - 3))
LOUD, QUIET = np.float32(0.1), np.float32(0.0)


def written(tokens, was_ended=False, is_cut_off=False) -> Written:
    return Written(len(tokens) + 1, tokens, was_ended, is_cut_off)


def utterances(count: int, unneeded=()) -> list[Utterance]:
    pieces = [Utterance(n, TEXT, mx.array([n]), 100 + n, read=TEXT) for n in range(count)]
    return [replace(one, is_needed=False) if one.number in unneeded else one for one in pieces]


class Speaking:
    """Writes and sounds what it was told to: for each utterance the tries in their order.

    Attributes:
        calls: numbers and seeds that were written together, and how many watches there were.
        sounded: numbers that were sounded, each time.
        finished, order: what came of each, and which came first.
    """

    def __init__(self, plan: dict[int, list[tuple[Written, np.float32]]]):
        self._left = {number: list(tries) for number, tries in plan.items()}
        self._loudness: dict[int, np.float32] = {}
        self.calls, self.sounded, self.finished, self.order = [], [], {}, []

    def write(self, pieces, seeds, watches):
        numbers = [one.number for one in pieces]
        self.calls.append((numbers, list(seeds), None if watches is None else len(watches)))
        tries = [self._left[number].pop(0) for number in numbers]
        for number, (_, loudness) in zip(numbers, tries, strict=True):
            self._loudness[number] = loudness
        return [tokens for tokens, _ in tries]

    def sound(self, tries, then):
        for one in tries:
            if one.waveform is None:
                number = one.utterance.number
                self.sounded.append(number)
                loudness = self._loudness[number]
                one.waveform = np.full(960 * len(one.written.audible), loudness, np.float32)
            then(one)

    def finish(self, utterance, spoken):
        assert utterance.number not in self.finished
        self.finished[utterance.number] = spoken
        self.order.append(utterance.number)


def guarded(plan, pieces=None) -> Speaking:
    speaking = Speaking(plan)
    pieces = utterances(len(plan)) if pieces is None else pieces
    speak_guarded(pieces, speaking.write, speaking.sound, speaking.finish, RATE, PACE)
    return speaking


def test_what_is_well_is_spoken_once():
    speaking = guarded({0: [(written(WELL), LOUD)], 1: [(written(WELL[1:]), LOUD)]})
    assert speaking.calls == [([0, 1], [100, 101], 2)]
    assert speaking.sounded == [0, 1]
    assert speaking.finished[1].outcome == Outcome(tuple(WELL[1:]), "", 1, 101)
    assert len(speaking.finished[1].waveform) == 960 * len(WELL[1:])


def test_only_what_has_something_wrong_is_spoken_again_with_seeds_of_its_own():
    bad, well = (written(SHORT), LOUD), (written(WELL), LOUD)
    plan = {0: [well], 1: [bad, bad, well], 2: [bad, well], 3: [(written(WELL), QUIET), well]}
    speaking = guarded(plan)
    numbers = [numbers for numbers, _, _ in speaking.calls]
    assert numbers == [[0, 1, 2, 3], [1, 2, 3], [1]]
    for number, (pieces, seeds, watches) in enumerate(speaking.calls):
        assert seeds == [seed_of_try(100 + piece, number) for piece in pieces]
        assert watches == len(pieces)
    # Tokens that are wrong are not sounded at all, and what is well is finished at once.
    assert speaking.sounded == [0, 3, 2, 3, 1]
    assert speaking.order == [0, 2, 3, 1]
    outcomes = [speaking.finished[number].outcome for number in range(4)]
    assert [(one.verdict, one.tries) for one in outcomes] == [("", 1), ("", 3), ("", 2), ("", 2)]
    assert [one.seed for one in outcomes] == [
        100,
        seed_of_try(101, 2),
        seed_of_try(102, 1),
        seed_of_try(103, 1),
    ]


def test_of_tries_that_are_all_bad_the_least_bad_is_kept():
    least = (written(SHORT), LOUD)
    for place in range(MOST_TRIES):
        tries = [(written(SHORTER), LOUD)] * MOST_TRIES
        tries[place] = least
        speaking = guarded({0: tries})
        assert len(speaking.calls) == MOST_TRIES == 3
        outcome = speaking.finished[0].outcome
        assert outcome.tokens == tuple(SHORT)
        assert outcome.seed == seed_of_try(100, place)
        assert outcome.tries == 3
        assert outcome.verdict.startswith("an early end")
        assert speaking.sounded == [0]


def test_a_try_that_was_sounded_is_not_sounded_again():
    silent = (written(WELL), QUIET)
    speaking = guarded({0: [silent, silent, silent]})
    assert speaking.finished[0].outcome.verdict == "silence"
    assert speaking.sounded == [0, 0, 0]


def test_what_is_not_needed_is_written_and_nothing_comes_of_it():
    bad, well = (written(SHORT), LOUD), (written(WELL), LOUD)
    speaking = guarded({0: [well], 1: [bad], 2: [well]}, utterances(3, unneeded=(1, 2)))
    assert [numbers for numbers, _, _ in speaking.calls] == [[0, 1, 2]]
    assert list(speaking.finished) == [0]
    speaking = Speaking({0: [well], 1: [(written([]), LOUD)]})
    pieces = utterances(2, unneeded=(1,))
    speak_unguarded(pieces, speaking.write, speaking.sound, speaking.finish)
    assert list(speaking.finished) == [0]


def test_unguarded_everything_is_spoken_once():
    speaking = Speaking({0: [(written(SHORT), QUIET)], 1: [(written(WELL, False, True), LOUD)]})
    speak_unguarded(utterances(2), speaking.write, speaking.sound, speaking.finish)
    assert speaking.calls == [([0, 1], [100, 101], None)]
    assert speaking.finished[0].outcome == Outcome(tuple(SHORT), "", 1, 100)
    assert speaking.finished[1].written.is_cut_off


@pytest.mark.parametrize("count", [1, 2])
def test_no_token_with_a_sound_is_an_error_that_names_the_piece_among_several(count):
    nothing, well = (written([]), LOUD), (written(WELL), LOUD)
    plans = {number: [well] for number in range(count - 1)}
    plans[count - 1] = [nothing] * MOST_TRIES
    pieces = utterances(count)
    named = f"1 speech tokens for {TEXT!r} and none" if count > 1 else "1 speech tokens and none"
    with pytest.raises(TextError, match=named):
        guarded(plans)
    speaking = Speaking(plans)
    with pytest.raises(TextError, match=named):
        speak_unguarded(pieces, speaking.write, speaking.sound, speaking.finish)
    assert not speaking.finished


def test_what_a_watch_ended_is_never_well_and_the_callers_limit_no_fault():
    assert judge_written(written(WELL), BOUNDS) is None
    assert judge_written(written(SHORT, is_cut_off=True), BOUNDS) is None
    assert "early end" in judge_written(written(SHORT), BOUNDS).reason
    assert "early end" in judge_written(written(SHORT, True, True), BOUNDS).reason
    ended = judge_written(written(WELL, was_ended=True), BOUNDS)
    assert ended.reason.startswith("no end")
    assert 4.0 < ended.weight < 5.0  # worse than no end that has a sound, better than a loop


def test_a_text_that_no_seed_can_finish_is_spoken_once():
    """Where the model's own limit comes long before the text can end."""
    limit = int(BOUNDS.usual / 1.6)
    hopeless = Written(limit, WELL[:limit], False, False, ran_on=True)
    speaking = guarded({0: [(hopeless, LOUD)], 1: [(written(WELL), LOUD)]})
    assert len(speaking.calls) == 1
    outcome = speaking.finished[0].outcome
    assert "the model's own limit" in outcome.verdict
    assert outcome.tokens == tuple(WELL[:limit])
    assert (outcome.tries, outcome.stopped) == (1, False)
    assert speaking.finished[1].outcome.stopped
    # A limit that is nearer may be one that another seed keeps to.
    near = Written(BOUNDS.usual - 2, WELL[:-2], False, False, ran_on=True)
    speaking = guarded({0: [(near, LOUD), (written(WELL), LOUD)]})
    assert [seeds for _, seeds, _ in speaking.calls] == [[100], [seed_of_try(100, 1)]]
    assert speaking.finished[0].outcome.verdict == ""


def test_of_what_ran_on_to_the_models_limit_the_babble_is_cut_off():
    for count, cut in ((BOUNDS.usual, False), (int(1.7 * BOUNDS.usual), True)):
        tokens = list(range(count))
        tries = [(Written(count, tokens, False, False, ran_on=True), LOUD)] * 3
        kept = guarded({0: tries}).finished[0].outcome
        assert kept.verdict.startswith("no end within")
        assert not kept.stopped
        assert (len(kept.tokens) < count) is cut


def test_what_the_model_does_not_read_is_told():
    speaking = Speaking({0: [(written(WELL), LOUD)]})
    (piece,) = utterances(1)
    speak_unguarded(
        [replace(piece, unread=("☃",))], speaking.write, speaking.sound, speaking.finish
    )
    assert speaking.finished[0].outcome.unread == ("☃",)
    assert written(WELL).stopped
    assert not written(WELL, is_cut_off=True).stopped


def test_what_is_worthless_of_the_best_try_is_cut_off():
    words = list(range(2 * BOUNDS.longest))
    # A loop is kept once.
    loop = words[:30] + words[100:110] * 9
    speaking = guarded({0: [(written(loop), LOUD)] * 3})
    assert speaking.finished[0].outcome.tokens == tuple(loop[:40])
    assert len(speaking.finished[0].waveform) == 40 * 960
    assert speaking.finished[0].waveform[-1] == 0.0
    assert speaking.finished[0].written.audible == loop
    # What a watch ended is cut at about its length, what the model ended itself is not.
    endless = words[: BOUNDS.longest + 1]
    for was_ended in (False, True):
        speaking = guarded({0: [(written(endless, was_ended), LOUD)] * 3})
        kept = len(speaking.finished[0].outcome.tokens)
        assert len(speaking.finished[0].waveform) == kept * 960
        assert (kept < len(endless)) is was_ended
        assert kept >= int(0.8 * BOUNDS.usual)


def test_what_is_kept_whole_is_not_faded_out():
    tokens = WELL[: int(0.7 * BOUNDS.usual)]
    kept = guarded({0: [(written(tokens, was_ended=True), LOUD)] * 3}).finished[0]
    assert kept.outcome.tokens == tuple(tokens)
    assert (kept.waveform == LOUD).all()


# --- Whole texts -------------------------------------------------------------------------------


def spoken(value: float, samples: int = 10) -> Spoken:
    waveform = np.full(samples, value, np.float32)
    return Spoken(waveform, written(WELL), Outcome((int(value),), "", 1, 0))


SAID = [
    [Breath("a", before=0.001), Breath("b", behind=0.002)],
    [Breath("c")],
    [Breath("d"), Breath("e"), Breath("f")],
]


def joined(order, unneeded=(), marks=False, speed=1.0):
    finished = []
    batch = Batch(
        ("a b", "c", "d e f"),
        (1, 2, 3),
        lambda *what: finished.append(what),
        frozenset(unneeded),
    )
    joining = Joining(batch, SAID, 1000, marks, speed)
    for number in order:
        joining.add(Utterance(number, "", mx.array([0]), 0), spoken(number + 1.0))
    return joining, finished


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4, 5], [5, 3, 2, 1, 4, 0]])
def test_a_text_is_its_pieces_in_order_with_their_silence(order):
    joining, finished = joined(order)
    one, two, three, four, five, six = (np.full(10, value) for value in range(1, 7))
    np.testing.assert_array_equal(joining.waveforms[0], np.concatenate([[0], one, two, [0, 0]]))
    np.testing.assert_array_equal(joining.waveforms[1], three)
    np.testing.assert_array_equal(joining.waveforms[2], np.concatenate([four, five, six]))
    assert sorted(text for text, _, _ in finished) == [0, 1, 2]
    for text, waveform, outcomes in finished:
        assert waveform is joining.waveforms[text]
        numbers = [number for number, (t, _) in enumerate(places()) if t == text]
        assert [one.tokens for one in outcomes] == [(number + 1,) for number in numbers]
    assert [one.outcome.tokens for one in joining.spoken()] == [(n,) for n in range(1, 7)]
    assert joining.failure is None


def places():
    return [(text, at) for text, pieces in enumerate(SAID) for at in range(len(pieces))]


def test_a_text_is_finished_with_its_last_piece_and_not_before():
    order = [3, 0, 5, 1, 4]
    seen = [[text for text, _, _ in joined(order[:n])[1]] for n in range(1, 6)]
    assert seen == [[], [], [], [0], [0, 2]]
    joining, _ = joined(order)
    assert [len(waveform) for waveform in joining.waveforms] == [23, 0, 30]
    assert len(joining.spoken()) == 5


def test_where_the_pieces_of_a_text_stand_in_it():
    joining, _ = joined(range(6))
    assert joining.spans == [[(1, 11), (11, 21)], [(0, 10)], [(0, 10), (10, 20), (20, 30)]]
    fast, _ = joined(range(6), speed=2.0)
    for waveform, spans, before in zip(fast.waveforms, fast.spans, joining.spans, strict=True):
        assert len(waveform) < before[-1][1]
        in_all = {0: 23, 1: 10, 2: 30}[joining.spans.index(before)]
        ratio = len(waveform) / in_all
        for (start, end), (was_start, was_end) in zip(spans, before, strict=True):
            assert 0 <= was_start * ratio - start < 1
            assert 0 <= was_end * ratio - end < 1


def test_a_piece_is_needed_if_its_text_is():
    joining, _ = joined([], unneeded=(0, 2))
    assert [joining.is_needed(number) for number in range(6)] == [False, False, True] + [False] * 3


def test_texts_are_marked_and_one_that_cannot_be_leaves_the_others(monkeypatch):
    def mark(waveform, rate):
        assert rate == 1000
        if waveform.max() == 3.0:
            raise AudioError("no mark")
        return waveform + 100.0

    monkeypatch.setattr("mlx_chatterbox.watermark.apply", mark)
    joining, finished = joined(range(6), marks=True)
    assert str(joining.failure) == "no mark"
    assert [text for text, _, _ in finished] == [0, 2]
    assert joining.waveforms[0].max() == 102.0
    assert len(joining.waveforms[1]) == 0
    unmarked, _ = joined(range(6))
    assert unmarked.waveforms[0].max() == 2.0


def test_audible_tokens_come_after_the_start_and_are_codes():
    start, codes = 6561, 6561
    assert audible_tokens([1, 2, 3], start, codes) == [1, 2, 3]
    assert audible_tokens([1, start, 2, 3], start, codes) == [2, 3]
    assert audible_tokens([start, 2, start, 6560, 6562], start, codes) == [2, 6560]
    assert audible_tokens([1, start], start, codes) == audible_tokens([], start, codes) == []
