"""The pocket voice, killed from outside at random moments; and the memory for a long text.

The full run, `python -m benchmarks.jobs` with 3,000 words and ten kills, takes half an hour.
"""

from __future__ import annotations

import json
import random

import pytest

from benchmarks.jobs import Speaking, compose, main
from benchmarks.kills import main as kills


def test_the_text_is_the_same_each_time_and_long_enough():
    text = compose(300)
    assert text == compose(300)
    assert 300 <= len(text.split()) < 400
    assert text.count("\n\n") >= 3
    assert compose(300, seed=2) != text


def test_killed_once_and_the_file_is_the_same(tmp_path):
    text = compose(25)
    speaking = Speaking(tmp_path, "pocket", batch_size=1)
    whole = speaking.whole(text, "whole")
    draw = random.Random()
    speaking.killed(text, "killed", 1, whole["seconds"] / 2, draw)
    ours, theirs = (speaking.output(name).read_bytes() for name in ("killed", "whole"))
    assert ours == theirs
    pieces = json.loads((tmp_path / "killed.wav.job" / "manifest.json").read_text())["pieces"]
    assert len(pieces) >= 2
    assert whole["peak"] < 2e9


@pytest.mark.slow
def test_killed_several_times_and_memory_stays(capsys):
    code = main(["--words", "200", "--kills", "2"])
    found = json.loads(capsys.readouterr().out)
    print(found)
    assert code == 0
    assert found["same"]
    assert found["kills"] >= 1
    assert found["growth"] <= 0.10


@pytest.mark.slow
@pytest.mark.parametrize("program", ["generate", "job", "convert", "train"])
def test_killed_or_on_a_full_disk_files_are_whole_or_not_there(program, capsys):
    """A short run of `python -m benchmarks.kills`."""
    assert kills([program, "--kills", "2", "--fills", "2", "--words", "20"]) == 0
    found = json.loads(capsys.readouterr().out)[program]
    print(found)
    assert set(found) == {"seconds", "killed", "disk_full"}
