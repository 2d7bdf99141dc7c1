"""The loop of attempts, with tokens and sounds that a test has chosen; no network."""

from __future__ import annotations

from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest

from mlx_chatterbox.errors import TextError
from mlx_chatterbox.models.t3.sampling import SamplingSettings
from mlx_chatterbox.synthesis.decoding import TokenDecoding
from mlx_chatterbox.synthesis.monitor import judge_decoded, plausible
from mlx_chatterbox.synthesis.request import SpeechSettings, Utterance
from mlx_chatterbox.synthesis.result import Outcome
from mlx_chatterbox.synthesis.retries import MAX_ATTEMPTS, RetryLoop, attempt_seed
from mlx_chatterbox.synthesis.splitting import TextPiece
from mlx_chatterbox.synthesis.tokens import DecodedTokens, TokenLimit

RATE = 24000
PACE = 0.075
TEXT = "The weather is warm today."
BOUNDS = plausible(TEXT, PACE)
WELL = list(range(BOUNDS.usual))
SHORT = list(range(BOUNDS.shortest - 1))
SHORTER = list(range(BOUNDS.shortest - 3))
LOUD, QUIET = np.float32(0.1), np.float32(0.0)


def decoded(tokens, was_ended=False, is_cut_off=False) -> DecodedTokens:
    return DecodedTokens(len(tokens) + 1, tokens, was_ended, is_cut_off)


def utterances(count: int, unread=(), unguarded=()) -> list[Utterance]:
    settings = SpeechSettings(TokenDecoding(SamplingSettings()), TokenLimit(1000, False), 1)
    return [
        Utterance(
            n,
            n,
            TextPiece(TEXT, mx.array([n]), TEXT, unread),
            100 + n,
            None,
            replace(settings, guard=n not in unguarded),
            f"text {n + 1}" if count > 1 else "",
        )
        for n in range(count)
    ]


def unguarded(count: int, unread=()) -> list[Utterance]:
    return utterances(count, unread, unguarded=range(count))


class Speaking:
    """Decodes and vocodes as prepared: for each utterance the attempts in their order.

    It stands for the synthesizer and for the assembler.

    Attributes:
        calls: numbers and seeds that were decoded together, and those that had a monitor.
        vocoded: numbers that were vocoded, each time.
        finished, order: what came of each, and which came first.
    """

    def __init__(self, plan: dict[int, list[tuple[DecodedTokens, np.float32]]]):
        self._left = {number: list(attempts) for number, attempts in plan.items()}
        self._loudness: dict[int, np.float32] = {}
        self.calls, self.vocoded, self.finished, self.order = [], [], {}, []

    def run(self, pieces) -> Speaking:
        RetryLoop(self, self, RATE, PACE, together=len(pieces)).run(pieces)
        return self

    def decode_tokens(self, pieces, seeds, monitors, together):
        numbers = [one.number for one in pieces]
        monitored = [n for n, one in zip(numbers, monitors, strict=True) if one is not None]
        self.calls.append((numbers, list(seeds), monitored))
        attempts = [self._left[number].pop(0) for number in numbers]
        for number, (_, loudness) in zip(numbers, attempts, strict=True):
            self._loudness[number] = loudness
        yield from enumerate(tokens for tokens, _ in attempts)

    def vocode(self, attempts, then):
        for one in attempts:
            if one.waveform is None:
                number = one.utterance.number
                self.vocoded.append(number)
                loudness = self._loudness[number]
                one.waveform = np.full(960 * len(one.decoded.audible), loudness, np.float32)
            then(one)

    def add(self, utterance, finished):
        assert utterance.number not in self.finished
        self.finished[utterance.number] = finished
        self.order.append(utterance.number)


def guarded(plan, pieces=None) -> Speaking:
    return Speaking(plan).run(utterances(len(plan)) if pieces is None else pieces)


def test_good_speech_is_spoken_once():
    speaking = guarded({0: [(decoded(WELL), LOUD)], 1: [(decoded(WELL[1:]), LOUD)]})
    assert speaking.calls == [([0, 1], [100, 101], [0, 1])]
    assert speaking.vocoded == [0, 1]
    assert speaking.finished[1].outcome == Outcome(tuple(WELL[1:]), "", 1, 101)
    assert len(speaking.finished[1].waveform) == 960 * len(WELL[1:])


def test_only_faulty_speech_is_spoken_again_with_seeds_of_its_own():
    bad, well = (decoded(SHORT), LOUD), (decoded(WELL), LOUD)
    plan = {0: [well], 1: [bad, bad, well], 2: [bad, well], 3: [(decoded(WELL), QUIET), well]}
    speaking = guarded(plan)
    numbers = [numbers for numbers, _, _ in speaking.calls]
    assert numbers == [[0, 1, 2, 3], [1, 2, 3], [1]]
    for number, (pieces, seeds, monitors) in enumerate(speaking.calls):
        assert seeds == [attempt_seed(100 + piece, number) for piece in pieces]
        assert monitors == pieces
    # Faulty tokens are not vocoded at all, and good ones are finished at once.
    assert speaking.vocoded == [0, 3, 2, 3, 1]
    assert speaking.order == [0, 2, 3, 1]
    outcomes = [speaking.finished[number].outcome for number in range(4)]
    assert [(one.verdict, one.tries) for one in outcomes] == [("", 1), ("", 3), ("", 2), ("", 2)]
    assert [one.seed for one in outcomes] == [
        100,
        attempt_seed(101, 2),
        attempt_seed(102, 1),
        attempt_seed(103, 1),
    ]


def test_the_least_bad_of_bad_attempts_is_kept():
    least = (decoded(SHORT), LOUD)
    for place in range(MAX_ATTEMPTS):
        attempts = [(decoded(SHORTER), LOUD)] * MAX_ATTEMPTS
        attempts[place] = least
        speaking = guarded({0: attempts})
        assert len(speaking.calls) == MAX_ATTEMPTS == 3
        outcome = speaking.finished[0].outcome
        assert outcome.tokens == tuple(SHORT)
        assert outcome.seed == attempt_seed(100, place)
        assert outcome.tries == 3
        assert outcome.verdict.startswith("an early end")
        assert speaking.vocoded == [0]


def test_an_attempt_that_was_vocoded_is_not_vocoded_again():
    silent = (decoded(WELL), QUIET)
    speaking = guarded({0: [silent, silent, silent]})
    assert speaking.finished[0].outcome.verdict == "silence"
    assert speaking.vocoded == [0, 0, 0]


def test_each_is_guarded_or_not_by_its_own_settings():
    bad, well, silent = (decoded(SHORT), LOUD), (decoded(WELL), LOUD), (decoded(WELL), QUIET)
    plan = {0: [bad, well], 1: [bad], 2: [silent], 3: [silent, well], 4: [well]}
    speaking = guarded(plan, utterances(5, unguarded=(1, 2)))
    assert [call[0] for call in speaking.calls] == [[0, 1, 2, 3, 4], [0, 3]]
    assert [call[2] for call in speaking.calls] == [[0, 3, 4], [0, 3]]
    outcomes = [speaking.finished[number].outcome for number in range(5)]
    assert [(one.verdict, one.tries) for one in outcomes] == [("", n) for n in (2, 1, 1, 2, 1)]
    assert outcomes[1].tokens == tuple(SHORT)
    # Silence of one that is not guarded is an error at once; the guarded one would go on.
    nothing = (decoded([]), LOUD)
    speaking = Speaking({0: [nothing, well], 1: [nothing]})
    with pytest.raises(TextError, match="none that has a sound"):
        speaking.run(utterances(2, unguarded=(1,)))
    assert len(speaking.calls) == 1
    speaking = guarded({0: [nothing, well], 1: [well]}, utterances(2, unguarded=(1,)))
    assert sorted(speaking.finished) == [0, 1]


def test_unguarded_everything_is_spoken_once():
    speaking = Speaking({0: [(decoded(SHORT), QUIET)], 1: [(decoded(WELL, False, True), LOUD)]})
    speaking.run(unguarded(2))
    assert speaking.calls == [([0, 1], [100, 101], [])]
    assert speaking.finished[0].outcome == Outcome(tuple(SHORT), "", 1, 100)
    assert speaking.finished[1].decoded.is_cut_off


@pytest.mark.parametrize("count", [1, 2])
def test_no_token_with_a_sound_is_an_error_that_names_the_piece_among_several(count):
    nothing, well = (decoded([]), LOUD), (decoded(WELL), LOUD)
    plans = {number: [well] for number in range(count - 1)}
    plans[count - 1] = [nothing] * MAX_ATTEMPTS
    pieces = unguarded(count)
    named = "^the model wrote 1 speech tokens and none"
    if count > 1:
        named = f"^text {count}: the model wrote 1 speech tokens for {TEXT!r} and none"
    with pytest.raises(TextError, match=named):
        guarded(plans)
    speaking = Speaking(plans)
    with pytest.raises(TextError, match=named):
        speaking.run(pieces)
    assert not speaking.finished


def test_what_a_monitor_ended_is_never_well_and_the_callers_limit_no_fault():
    assert judge_decoded(decoded(WELL), BOUNDS) is None
    assert judge_decoded(decoded(SHORT, is_cut_off=True), BOUNDS) is None
    assert "early end" in judge_decoded(decoded(SHORT), BOUNDS).reason
    assert "early end" in judge_decoded(decoded(SHORT, True, True), BOUNDS).reason
    ended = judge_decoded(decoded(WELL, was_ended=True), BOUNDS)
    assert ended.reason.startswith("no end")
    assert 4.0 < ended.weight < 5.0  # worse than audible speech without an end, better than a loop


def test_a_text_that_no_seed_can_finish_is_spoken_once():
    """The model's own limit comes long before the text can end."""
    limit = int(BOUNDS.usual / 1.6)
    hopeless = DecodedTokens(limit, WELL[:limit], False, False, ran_on=True)
    speaking = guarded({0: [(hopeless, LOUD)], 1: [(decoded(WELL), LOUD)]})
    assert len(speaking.calls) == 1
    outcome = speaking.finished[0].outcome
    assert "the model's own limit" in outcome.verdict
    assert outcome.tokens == tuple(WELL[:limit])
    assert (outcome.tries, outcome.stopped) == (1, False)
    assert speaking.finished[1].outcome.stopped
    # Another seed may keep within a limit that is nearer.
    near = DecodedTokens(BOUNDS.usual - 2, WELL[:-2], False, False, ran_on=True)
    speaking = guarded({0: [(near, LOUD), (decoded(WELL), LOUD)]})
    assert [seeds for _, seeds, _ in speaking.calls] == [[100], [attempt_seed(100, 1)]]
    assert speaking.finished[0].outcome.verdict == ""


def test_babble_up_to_the_models_limit_is_cut_off():
    for count, cut in ((BOUNDS.usual, False), (int(1.7 * BOUNDS.usual), True)):
        tokens = list(range(count))
        attempts = [(DecodedTokens(count, tokens, False, False, ran_on=True), LOUD)] * 3
        kept = guarded({0: attempts}).finished[0].outcome
        assert kept.verdict.startswith("no end within")
        assert not kept.stopped
        assert (len(kept.tokens) < count) is cut


def test_unread_text_is_in_the_outcome():
    speaking = Speaking({0: [(decoded(WELL), LOUD)]})
    speaking.run(unguarded(1, unread=("☃",)))
    assert speaking.finished[0].outcome.unread == ("☃",)
    assert decoded(WELL).stopped
    assert not decoded(WELL, is_cut_off=True).stopped


def test_the_worthless_part_of_the_best_attempt_is_cut_off():
    words = list(range(2 * BOUNDS.longest))
    # A loop is kept once.
    loop = words[:30] + words[100:110] * 9
    speaking = guarded({0: [(decoded(loop), LOUD)] * 3})
    assert speaking.finished[0].outcome.tokens == tuple(loop[:40])
    assert len(speaking.finished[0].waveform) == 40 * 960
    assert speaking.finished[0].waveform[-1] == 0.0
    assert speaking.finished[0].decoded.audible == loop
    # Speech that a monitor ended is cut at about its length; speech that the model ended is not.
    endless = words[: BOUNDS.longest + 1]
    for was_ended in (False, True):
        speaking = guarded({0: [(decoded(endless, was_ended), LOUD)] * 3})
        kept = len(speaking.finished[0].outcome.tokens)
        assert len(speaking.finished[0].waveform) == kept * 960
        assert (kept < len(endless)) is was_ended
        assert kept >= int(0.8 * BOUNDS.usual)


def test_what_is_kept_whole_is_not_faded_out():
    tokens = WELL[: int(0.7 * BOUNDS.usual)]
    kept = guarded({0: [(decoded(tokens, was_ended=True), LOUD)] * 3}).finished[0]
    assert kept.outcome.tokens == tuple(tokens)
    assert (kept.waveform == LOUD).all()


def test_seeds_of_attempts_follow_from_the_first_and_are_unique():
    seeds = [attempt_seed(seed, number) for seed in range(50) for number in range(3)]
    assert len(set(seeds)) == 150
    assert [attempt_seed(seed, 0) for seed in range(3)] == [0, 1, 2]
    assert attempt_seed(7, 1) == attempt_seed(7, 1)
    assert all(0 <= seed < 2**64 for seed in seeds)
