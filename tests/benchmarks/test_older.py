"""The comparison of work that another commit began: what counts as a difference."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
from safetensors.numpy import save_file

from benchmarks.older import ComparedValues, main


def test_files_that_differ_or_are_missing_are_lines():
    comparison = ComparedValues()
    comparison.same_files("job", {"a": "1", "b": "2"}, {"a": "1", "b": "3", "c": "4"})
    assert comparison.values == 3
    assert comparison.problems == ["job: b: 3 became 2", "job: c: 4 became missing"]


def test_samples_may_differ_by_rounding_alone(tmp_path):
    wave = np.sin(np.arange(2400) / 9)
    for name, samples in (("a", wave), ("b", wave + 1e-4), ("c", wave * 0.9), ("d", wave[1:])):
        soundfile.write(tmp_path / f"{name}.wav", samples, 24000, subtype="FLOAT")
    for name, problems in (("b", 0), ("c", 1), ("d", 1)):
        comparison = ComparedValues()
        comparison.same_samples("job", tmp_path / f"{name}.wav", tmp_path / "a.wav")
        assert len(comparison.problems) == problems


def test_training_is_compared_by_the_way_that_it_took(tmp_path):
    def checkpoint(name: str, value: float):
        (tmp_path / name).mkdir()
        save_file({"w": np.full(8, value, np.float32)}, tmp_path / name / "weights.safetensors")
        return tmp_path / name

    earlier, theirs = checkpoint("earlier", 1.0), checkpoint("theirs", 1.001)
    for value, problems in ((1.001001, 0), (1.0011, 1), (1.0, 1)):
        comparison = ComparedValues()
        comparison.same_training(checkpoint(str(value), value), theirs, earlier)
        assert len(comparison.problems) == problems
    comparison = ComparedValues()
    comparison.same_training(earlier, earlier, earlier)
    assert "training: weights have moved: True became False" in comparison.problems


def test_an_unknown_case_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["songs", "--commit", "HEAD"])
    assert "songs" in capsys.readouterr().err


@pytest.mark.slow
def test_this_commit_finishes_what_it_begins(capsys):
    assert main(["voice", "batch", "train", "--commit", "HEAD"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" of ")[0] for line in lines] == ["voice: 0", "batch: 0", "train: 0"]
