"""Speech that ran into the model's own limit: judged like any other, and reported everywhere."""

from __future__ import annotations

import json
from pathlib import Path

import mlx.core as mx
import pytest

from mlx_chatterbox import ChatterboxTTS
from mlx_chatterbox.generate import main
from mlx_chatterbox.synthesis.monitor import judge_decoded, judge_tokens, plausible
from mlx_chatterbox.synthesis.tokens import DecodedTokens

# Enough digits that twice their length is more than the model can decode.
DIGITS = "Call 1 800 555 0199 or 555 0123 today, code 4 4 4 4 4 4."
FAST = {"n_cfm_timesteps": 1, "watermark": False}
LIMIT = 75


@pytest.fixture(scope="module")
def tts() -> ChatterboxTTS:
    return ChatterboxTTS.from_pretrained("pocket")


@pytest.fixture
def short(tts, monkeypatch):
    """The model's own limit is 3 s, and T3 draws neither its stop token nor a token twice."""
    t3 = tts.networks.t3
    head = t3.speech_head

    def without_stop(hidden):
        logits = head(hidden)
        stop = mx.arange(logits.shape[-1]) == t3.config.stop_speech_token
        return mx.where(stop, -1e9, 0.3 * logits)

    monkeypatch.setitem(t3, "speech_head", without_stop)
    monkeypatch.setattr(tts.defaults, "max_new_tokens", LIMIT)
    return tts


TEXT = "Open the window in the hall."


def test_the_text_is_one_whose_plausible_length_is_above_the_limit(tts):
    pace = tts.defaults.seconds_per_letter
    assert plausible(TEXT, pace).longest > LIMIT > plausible(TEXT, pace).usual
    assert plausible(DIGITS, pace).longest > tts.defaults.max_new_tokens


def test_tokens_up_to_the_models_own_limit_are_a_finding():
    bounds = plausible("a" * 200, 0.075)
    tokens = list(range(500))
    assert judge_tokens(tokens, bounds, is_cut_off=True) is None
    assert judge_tokens(tokens, bounds, is_cut_off=False) is None
    found = judge_decoded(DecodedTokens(500, tokens, False, False, ran_on=True), bounds)
    assert "own limit" in found.reason
    assert not found.is_final


def test_a_text_far_too_long_for_the_model_is_reported_and_not_retried():
    bounds = plausible("a" * 500, 0.075)
    found = judge_decoded(DecodedTokens(500, list(range(500)), False, False, ran_on=True), bounds)
    assert "cut off after 20.0 s" in found.reason
    assert found.is_final
    # It is not called an early end either.
    bounds = plausible("a" * 5000, 0.075)
    found = judge_decoded(DecodedTokens(500, list(range(500)), False, False, ran_on=True), bounds)
    assert "cut off" in found.reason


def test_a_full_models_limit_of_a_thousand(tts):
    """The limit is 40 s where the text may take 48: English and Multilingual with 280 letters."""
    bounds = plausible("abcde " * 60, 0.075)
    assert bounds.longest > 1000 > bounds.usual
    found = judge_decoded(DecodedTokens(1000, list(range(1000)), False, False, ran_on=True), bounds)
    assert "40.0 s" in found.reason


def test_generate(short):
    short.generate(TEXT, seed=1, **FAST)
    (outcome,) = short.outcomes
    assert "own limit" in outcome.verdict
    assert outcome.tries == 3
    # The kept part ends about where the text may.
    assert len(outcome.tokens) < LIMIT
    assert not outcome.stopped
    assert not short.stopped


def test_generate_batch_and_finished(short):
    told = []
    short.generate_batch(
        [TEXT, TEXT], seed=1, finished=lambda n, wave, outcomes: told.append(outcomes), **FAST
    )
    assert all("own limit" in one.verdict for one in short.outcomes)
    assert all("own limit" in one.verdict for (one,) in told)


def test_stream(short):
    list(short.stream(TEXT, seed=1, **FAST))
    (outcome,) = short.outcomes
    assert "own limit" in outcome.verdict
    assert not outcome.stopped


def test_the_callers_limit_is_not_a_finding(short):
    """A limit of any size, the model's own included, is not a finding."""
    for limit in (6, LIMIT):
        short.generate(TEXT, seed=1, max_new_tokens=limit, **FAST)
        assert [(one.verdict, one.tries, one.stopped) for one in short.outcomes] == [("", 1, False)]
        list(short.stream(TEXT, seed=1, max_new_tokens=limit, **FAST))
        assert [(one.verdict, one.stopped) for one in short.outcomes] == [("", False)]


def test_without_guards_it_is_spoken_once(short):
    short.generate(TEXT, seed=1, guard=False, **FAST)
    assert [(one.verdict, one.tries, one.stopped) for one in short.outcomes] == [("", 1, False)]


@pytest.mark.parametrize("seed", [1, 2])
def test_digits_on_pocket_are_never_called_good_where_they_ran_on(tts, seed):
    tts.generate(DIGITS, seed=seed, **FAST)
    for one in tts.outcomes:
        assert one.verdict or (one.stopped and len(one.tokens) < 500)


@pytest.fixture
def babbling(monkeypatch):
    """Every loaded model decodes up to its limit, which is short."""
    from mlx_chatterbox.synthesis import engine

    made = engine.Engine.__init__

    def init(self, *arguments, **settings):
        made(self, *arguments, **settings)
        self.defaults.max_new_tokens = LIMIT
        t3 = self.networks.t3
        head = t3.speech_head

        def without_stop(hidden):
            logits = head(hidden)
            stop = mx.arange(logits.shape[-1]) == t3.config.stop_speech_token
            return mx.where(stop, -1e9, 0.3 * logits)

        t3["speech_head"] = without_stop

    monkeypatch.setattr(engine.Engine, "__init__", init)


COMMON = ["--model", "pocket", "--seed", "1", "--no-watermark", "--cfm-steps", "1"]


def said(capsys) -> list[str]:
    return [one for one in capsys.readouterr().err.splitlines() if one.startswith("guard:")]


def test_the_command_line_reports_it(babbling, tmp_path, capsys):
    output = ["--output", str(tmp_path / "a.wav")]
    assert main(["--text", TEXT, *COMMON, *output]) == 0
    assert "own limit" in said(capsys)[0]
    assert main(["--text", TEXT, *COMMON, *output, "--stream"]) == 0
    assert "own limit" in said(capsys)[0]


LONG = "The first part of it all is here, and it is as long as a part that stands alone can be."


def test_a_job_reports_and_records_it(babbling, tmp_path, capsys):
    (tmp_path / "a.txt").write_text(f"{LONG}\n\n{LONG}\n")
    output = tmp_path / "a.wav"
    assert main(["--file", str(tmp_path / "a.txt"), *COMMON, "--output", str(output)]) == 0
    lines = said(capsys)
    assert len(lines) == 2
    assert all("own limit" in line for line in lines)
    pieces = json.loads(Path(f"{output}.job/manifest.json").read_text())["pieces"]
    assert all("own limit" in piece["outcome"] for piece in pieces)
    assert all(piece["stopped"] is False for piece in pieces)


def test_a_job_reports_what_the_callers_limit_cut_off(babbling, tmp_path, capsys):
    (tmp_path / "a.txt").write_text(f"{LONG}\n\n{LONG}\n")
    words = ["--file", str(tmp_path / "a.txt"), "--output", str(tmp_path / "a.wav")]
    assert main([*words, *COMMON, "--max-new-tokens", "20"]) == 0
    error = capsys.readouterr().err
    assert "piece 1 was not finished within its limit" in error
    assert "piece 2 was not finished within its limit" in error


def test_a_batch_and_its_report_name_it(babbling, tmp_path, capsys):
    (tmp_path / "rows.csv").write_text(f"text,output\n{TEXT},one.wav\n")
    words = ["--batch", str(tmp_path / "rows.csv"), "--output-dir", str(tmp_path / "out"), *COMMON]
    assert main(words) == 0
    (line,) = said(capsys)
    assert "row 1 (one.wav)" in line
    assert "own limit" in line
    assert "own limit" in (tmp_path / "out" / "report.csv").read_text()
    # The report still names it for a row that is kept.
    assert main(words) == 0
    report = (tmp_path / "out" / "report.csv").read_text()
    assert "kept" in report
    assert "own limit" in report
