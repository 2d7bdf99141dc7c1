"""The benchmark of sentences in company, on a small model, and its arithmetic."""

from __future__ import annotations

import json

import pytest

from benchmarks import company, company_parts
from benchmarks.company import main, measure, tables
from benchmarks.company_model import CompanyModel, open_networks
from benchmarks.company_parts import Amount, in_turns
from benchmarks.errors import BenchmarkError
from mlx_chatterbox.runtime import device

SMALL = Amount(rounds=2, steps=3, counts=(1, 3), modes=(2,), together=(2,), cfm_steps=1)


def test_all_of_a_small_model(small_checkpoint, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(company, "SHORT", SMALL)
    file = tmp_path / "figures.json"
    with device.pretend("gpu"):
        assert main([str(small_checkpoint), "--short", "--json", str(file)]) == 0
    result = json.loads(file.read_text())
    assert result["about"]["rows_of_sentence"] == 2
    assert result["about"]["model"] == small_checkpoint.name
    assert set(result["steps"]) == {"1", "3"}
    assert set(result["voices"]) == {"8"}
    assert set(result["modes"]) == {"2"}
    assert set(result["vocoding"]) == {"2"}
    compared = [*result["voices"].values(), *result["modes"].values()]
    for seconds in [result["steps"], result["joining"], *compared, *result["vocoding"].values()]:
        for taken in seconds.values():
            assert len(taken) == 2
            assert min(taken) > 0
    text = capsys.readouterr().out
    assert "| 3 | 6 |" in text
    assert "| a step of T3, sentences | fast | invariant | invariant / fast |" in text
    assert "| S3Gen, sentences | one by one | together | together / one by one |" in text


def test_where_a_step_is_made_in_c_the_modes_are_one():
    text = tables(
        {
            "about": {
                "model": "a",
                "precision": "float32",
                "machine": "m",
                "device": "cpu",
                "rows_of_sentence": 1,
            },
            "steps": {1: [0.001, 0.002, 0.003], 4: [0.003, 0.002, 0.009]},
            "voices": {16: {"one voice": [0.1, 0.2], "4 voices": [0.2, 0.2]}},
            "modes": {},
            "joining": {"step": [1.0, 1.0], "prefill": [2.0, 4.0], "longest": [3.0, 7.0]},
            "vocoding": {2: {"one by one": [1.0], "together": [0.5]}},
        }
    )
    assert "| 4 | 4 | 3 ms | 1.50 (1.00 to 3.00) | 0.75 ms |" in text
    assert "| 16 | 150 ms | 200 ms | 1.33 (1.00 to 2.00) |" in text
    assert "made in C here" in text
    assert "so it costs them 1.25 of its prefill (1.00 to 1.50)" in text
    assert "| 2 | 1 s | 500 ms | 0.50 (0.50 to 0.50) |" in text


def test_ways_take_turns_and_the_first_is_not_counted():
    told = []

    def way(name: str, seconds: list[float]) -> float:
        told.append(name)
        return seconds.pop(0)

    first, second = [9.0, 1.0, 2.0], [8.0, 3.0, 4.0]
    found = in_turns({"a": lambda: way("a", first), "b": lambda: way("b", second)}, 2)
    assert told == ["a", "b"] * 3
    assert found == {"a": [1.0, 2.0], "b": [3.0, 4.0]}


def test_sentences_differ_in_voice_and_text(small_checkpoint):
    model = CompanyModel(*open_networks(str(small_checkpoint), "float32"))
    requests = [model.request(number, 4) for number in range(8)]
    voices = [one.conditioning for one in requests]
    assert len({id(one) for one in voices}) == 4
    assert len({tuple(one.text_tokens.tolist()) for one in requests}) == 8
    assert len({id(model.request(number, 1).conditioning) for number in range(8)}) == 1
    tokens, references = model.sentences(4)
    assert len({one.shape[0] for one in tokens}) == 4
    assert len({id(one) for one in references}) == 4


def test_a_sentence_that_ends_is_an_error(small_checkpoint, monkeypatch):
    monkeypatch.setattr("benchmarks.company_model._LIMIT", 5)
    model = CompanyModel(*open_networks(str(small_checkpoint), "float32"))
    with pytest.raises(BenchmarkError, match="T3 ended in 8 of 8 sentences"):
        company_parts.voices_apart(model, SMALL)


def test_what_cannot_be_measured_is_a_line(capsys):
    with pytest.raises(BenchmarkError, match="neither a folder nor one of"):
        measure("nowhere", "float32", SMALL)
    assert main(["--precision", "8bit"]) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert "--precision 8bit is of made-up weights" in line
