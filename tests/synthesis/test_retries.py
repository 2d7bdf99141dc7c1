"""Guards in use: what is spoken again, what is kept, and what they leave unchanged."""

from __future__ import annotations

import threading

import mlx.core as mx
import numpy as np
import pytest

from mlx_chatterbox import ChatterboxTTS
from mlx_chatterbox.errors import SettingError
from mlx_chatterbox.generate import guard_lines, main
from mlx_chatterbox.models.decoder import engine, network
from mlx_chatterbox.models.decoder.engine import DecodingEngine
from mlx_chatterbox.models.t3.decoding import decode
from mlx_chatterbox.recognition.held_out import HELD_OUT
from mlx_chatterbox.runtime import device, parallel
from mlx_chatterbox.synthesis import retries, synthesizer
from mlx_chatterbox.synthesis.monitor import plausible
from mlx_chatterbox.synthesis.result import Outcome
from mlx_chatterbox.synthesis.retries import attempt_seed
from mlx_chatterbox.synthesis.synthesizer import BatchSynthesizer
from mlx_chatterbox.text.clauses import pieces
from tests.chosen_tokens import ChosenStepper, choose_tokens
from tests.rounding import Rounding, pitched

pytestmark = pytest.mark.numbers

TEXT = "Open the window."
FAST = {"n_cfm_timesteps": 1, "watermark": False}
SENTENCES = ["Good morning.", TEXT, "Yes."]


@pytest.fixture(scope="module")
def tts() -> ChatterboxTTS:
    return ChatterboxTTS.from_pretrained("pocket")


@pytest.fixture
def steady_voice(tts):
    """A steady pitch, so that the waveform accumulates less rounding."""
    with pitched(tts.networks.s3gen.mel2wav):
        yield


@pytest.fixture
def no_stop(tts, monkeypatch):
    """T3 never draws its stop token."""
    t3 = tts.networks.t3
    head = t3.speech_head

    def without_stop(hidden):
        logits = head(hidden)
        stop = mx.arange(logits.shape[-1]) == t3.config.stop_speech_token
        return mx.where(stop, -1e9, logits)

    # A module is a dictionary of its parts.
    monkeypatch.setitem(t3, "speech_head", without_stop)


def written_as(monkeypatch, change):
    """Pass T3's tokens through `change(number of the row, seed key, tokens)`."""
    stepper_of, prefill = engine.stepper_of, engine.prefill

    def changed(t3):
        def tokens_of(number, request):
            with monkeypatch.context() as real:
                real.setattr(engine, "stepper_of", stepper_of)
                real.setattr(engine, "prefill", prefill)
                own = decode(
                    t3,
                    request.conditioning,
                    request.text_tokens,
                    request.sampling,
                    request.cfg_weight,
                    request.max_new_tokens,
                    request.key,
                )
                return change(number, request.key, list(own))

        return ChosenStepper(t3, tokens_of)

    choose_tokens(monkeypatch, lambda number, request: [])
    monkeypatch.setattr(engine, "stepper_of", lambda t3, *_: changed(t3))
    # The real ones are put back for a moment, for all threads.
    monkeypatch.setattr(synthesizer, "can_run_two", lambda: False)


def is_first_try(key, seeds) -> bool:
    firsts = [np.array(mx.random.split(mx.random.key(seed))[0]) for seed in seeds]
    return any(np.array_equal(np.array(key), first) for first in firsts)


def test_where_nothing_is_found_nothing_changes(tts):
    for seed, text in enumerate(SENTENCES):
        guarded = tts.generate(text, seed=seed, **FAST)
        (outcome,) = tts.outcomes
        assert outcome == Outcome(tuple(tts.last_tokens), "", 1, seed)
        np.testing.assert_array_equal(guarded, tts.generate(text, seed=seed, guard=False, **FAST))


def test_without_the_stop_token_it_ends_with_a_reason(tts, no_stop):
    spoken = tts.generate(TEXT, seed=1, **FAST)
    bounds = plausible(TEXT, tts.defaults.seconds_per_letter)
    (outcome,) = tts.outcomes
    assert outcome.verdict
    assert outcome.tries == retries.MAX_ATTEMPTS
    assert len(spoken) == 960 * len(outcome.tokens) == 960 * len(tts.last_tokens)
    assert 0.3 * bounds.usual < len(outcome.tokens) <= 1.3 * bounds.usual + 1
    assert np.abs(spoken).max() > 0.05
    # As without guards: up to the limit.
    assert len(tts.generate(TEXT, seed=1, guard=False, max_new_tokens=120, **FAST)) > 960 * 100
    assert not tts.stopped


def test_a_forced_loop_is_cut_where_it_begins_again(tts, monkeypatch):
    written_as(monkeypatch, lambda i, key, tokens: tokens[:30] + tokens[10:30] * 20)
    spoken = tts.generate(TEXT, seed=1, **FAST)
    (outcome,) = tts.outcomes
    assert "loop" in outcome.verdict
    assert outcome.tries == 3
    assert 28 <= len(outcome.tokens) <= 32
    assert len(spoken) == 960 * len(outcome.tokens)


def test_a_good_second_attempt_is_kept(tts, monkeypatch):
    """The result is that of its own seed, which the report names."""
    well = tts.generate(TEXT, seed=attempt_seed(1, 1), **FAST)
    written_as(
        monkeypatch,
        lambda i, key, tokens: tokens[:5] if is_first_try(key, [1]) else tokens,
    )
    spoken = tts.generate(TEXT, seed=1, **FAST)
    (outcome,) = tts.outcomes
    assert (outcome.verdict, outcome.tries, outcome.seed) == ("", 2, attempt_seed(1, 1))
    np.testing.assert_array_equal(spoken, well)


def test_only_the_bad_sentence_of_a_batch_is_spoken_again(tts, steady_voice, monkeypatch):
    seeds = (5, attempt_seed(6, 1), 7)

    def alone() -> list[np.ndarray]:
        return [
            tts.generate(*one, seed=s, **FAST) for *one, s in zip(SENTENCES, seeds, strict=True)
        ]

    expected = Rounding(alone, [tts.networks.s3gen], t3=tts.networks.t3)
    seen = []

    def change(i, key, tokens):
        seen.append(i)
        return tokens[:5] if is_first_try(key, [6]) else tokens

    written_as(monkeypatch, change)
    found = tts.generate_batch(SENTENCES, seed=5, **FAST)
    assert [outcome.tries for outcome in tts.outcomes] == [1, 2, 1]
    # Four were decoded, the last of them alone.
    assert len(seen) == 4
    assert seen[-1] == 0
    expected.check(found)


def test_silent_audio_is_spoken_again(tts, monkeypatch):
    waveform = BatchSynthesizer._waveform
    calls = []

    def first_is_silent(self, *arguments):
        calls.append(1)
        found = waveform(self, *arguments)
        return np.zeros_like(found) if len(calls) == 1 else found

    monkeypatch.setattr(BatchSynthesizer, "_waveform", first_is_silent)
    assert np.abs(tts.generate("Good morning.", seed=1, **FAST)).max() > 0.05
    assert (tts.outcomes[0].verdict, tts.outcomes[0].tries) == ("", 2)


def test_the_callers_own_limit_is_not_a_finding(tts):
    tts.generate(TEXT, seed=1, max_new_tokens=6, **FAST)
    assert [(one.verdict, one.tries) for one in tts.outcomes] == [("", 1)]
    assert not tts.stopped


def test_noise_from_the_caller_allows_one_attempt(tts, monkeypatch):
    prompt = tts.conds.prompt_token.shape[1]
    noise = mx.zeros((1, 2 * (5 + prompt), 80))
    written_as(monkeypatch, lambda i, key, tokens: tokens[:5])
    tts.generate(TEXT, seed=1, noise=noise, **FAST)
    assert [(one.verdict, one.tries) for one in tts.outcomes] == [("", 1)]


def test_a_pieces_seed_gives_that_piece_alone(tts):
    text = (
        "Open the window. Nobody knows where the books are, and the red hat is old. Good morning, "
    )
    text += "my friend, and thank you for the letter of last week."
    whole = tts.generate(text, seed=3, **FAST)
    outcomes = tts.outcomes
    assert len(outcomes) > 1
    said = pieces(text, tts.defaults.longest_piece)
    alone = [
        tts.generate(piece, seed=one.seed, **FAST)
        for piece, one in zip(said, outcomes, strict=True)
    ]
    np.testing.assert_array_equal(np.concatenate(alone), whole)


@pytest.fixture
def together(monkeypatch):
    """For each engine the most rows that ran at a time, all its rows, and its thread."""
    engines: dict[int, dict] = {}
    step = DecodingEngine.step

    def watched(self):
        of_engine = engines.setdefault(id(self), {"most": 0, "rows": set(), "kept": self})
        of_engine["thread"] = threading.get_ident()
        delivered = step(self)
        rows = {id(row) for row, _ in delivered}
        of_engine["most"] = max(of_engine["most"], len(rows))
        of_engine["rows"] |= rows
        return delivered

    monkeypatch.setattr(DecodingEngine, "step", watched)
    return engines


@pytest.mark.parametrize("is_small", [True, False])
def test_on_two_cores_each_decodes_half_of_a_small_t3s_texts(
    tts, steady_voice, monkeypatch, together, is_small
):
    if parallel._blas() is None or not device.on_cpu():
        pytest.skip("no CPU with OpenBLAS")
    monkeypatch.setattr(parallel, "_cores", lambda: 2)
    if not is_small:
        monkeypatch.setattr(network, "_SMALL", 1000)
    texts = ["Yes.", "No.", "Why?", "Good.", TEXT]
    found = tts.generate_batch(texts, seed=1, **FAST)
    counts = sorted(len(one["rows"]) for one in together.values())
    assert counts == ([2, 3] if is_small else [5])
    assert len({one["thread"] for one in together.values()}) == (2 if is_small else 1)
    tokens = [one.tokens for one in tts.outcomes]
    spoken = []

    def alone() -> list[np.ndarray]:
        spoken.clear()
        waveforms = []
        for number, text in enumerate(texts):
            waveforms.append(tts.generate(text, seed=1 + number, **FAST))
            spoken.append(tuple(tts.last_tokens))
        return waveforms

    Rounding(alone, [tts.networks.s3gen], t3=tts.networks.t3).check(found)
    assert spoken == tokens
    # The same batch every time: another call gives the same bits.
    again = tts.generate_batch(texts, seed=1, **FAST)
    for first, second in zip(found, again, strict=True):
        np.testing.assert_array_equal(first, second)


def test_a_batch_size_bounds_what_is_written_together(tts, steady_voice, monkeypatch, together):
    monkeypatch.setattr(synthesizer, "can_run_two", lambda: False)
    texts = ["Yes.", "No.", "Why?", "Good.", TEXT]

    def by_two() -> list[np.ndarray]:
        return tts.generate_batch(texts, seed=1, batch_size=2, **FAST)

    few = Rounding(by_two, [tts.networks.s3gen], t3=tts.networks.t3)
    together.clear()
    by_two()
    assert [(one["most"], len(one["rows"])) for one in together.values()] == [(2, 5)]
    tokens = [one.tokens for one in tts.outcomes]
    together.clear()
    many = tts.generate_batch(texts, seed=1, batch_size=16, **FAST)
    assert [(one["most"], len(one["rows"])) for one in together.values()] == [(5, 5)]
    assert tokens == [one.tokens for one in tts.outcomes]
    few.check(many)
    with pytest.raises(SettingError, match="batch_size"):
        tts.generate_batch(texts, batch_size=0)


def test_the_report_is_a_line():
    fine = Outcome((1, 2), "", 1, 5)
    again = Outcome((1, 2), "", 2, 77)
    bad = Outcome((1, 2), "silence", 3, 9)
    assert guard_lines([fine, fine]) == []
    assert len(guard_lines([fine, again, bad])) == 2
    assert "seed 77" in guard_lines([fine, again])[0]
    assert "piece 2 of 2" in guard_lines([fine, bad])[0]
    assert "silence" in guard_lines([fine, bad])[0]


def test_the_command_line_reports_and_can_do_without(tmp_path, capsys, monkeypatch):
    words = [
        "--model",
        "pocket",
        "--text",
        TEXT,
        "--seed",
        "1",
        "--no-watermark",
        "--cfm-steps",
        "1",
    ]
    words += ["--output", str(tmp_path / "a.wav")]
    written_as(monkeypatch, lambda i, key, tokens: tokens[:30] + tokens[10:30] * 5)
    assert main(words) == 0
    assert "guard: piece 1 of 1 is still wrong after 3 tries: a loop" in capsys.readouterr().err
    assert main([*words, "--no-guard"]) == 0
    assert "guard" not in capsys.readouterr().err


@pytest.mark.slow
def test_hardly_one_of_a_hundred_normal_sentences_is_spoken_again(tts):
    texts = [*HELD_OUT, *HELD_OUT]
    tts.generate_batch(texts, seed=1000, watermark=False)
    assert sum(outcome.tries > 1 for outcome in tts.outcomes) <= 2
