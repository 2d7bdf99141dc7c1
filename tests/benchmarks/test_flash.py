"""The benchmark of Flash beside English, on small models."""

from __future__ import annotations

import json
import sys

import pytest

import mlx_chatterbox  # noqa: F401  (before mlx.core)
from benchmarks import clock, flash
from benchmarks.engines import Place

# All engines of a run on small models, each in a process of its own.
PARTS = {"conditioning", "t3", "s3gen", "whole", "pass", "block", "first_sound"}


@pytest.fixture
def small(small_models, monkeypatch):
    columns = {
        name: (Place("ours", sys.executable, small_models(variant), "cpu"), variant)
        for name, variant in ((flash.FLASH, "flash"), (flash.ENGLISH, "english"))
    }
    monkeypatch.setattr(flash, "_columns", lambda arguments, work: columns)


def test_parts_of_both_are_timed_in_turns(small, tmp_path, capsys):
    path = tmp_path / "flash.json"
    words = ["--runs", "2", "--work", str(tmp_path / "work"), "--device", "cpu"]
    assert flash.main([*words, "--json", str(path)]) == 0
    shown = capsys.readouterr().out
    document = json.loads(path.read_text(encoding="utf-8"))
    for seconds in document["runs"].values():
        assert set(seconds) == PARTS
        assert all(len(runs) == 2 and min(runs) > 0 for runs in seconds.values())
        for whole, *parts in zip(
            *(seconds[name] for name in ("whole", "conditioning", "t3", "s3gen")), strict=True
        ):
            assert whole == pytest.approx(sum(parts))
    runs = document["runs"]
    # Nine passes a block, and one for a token of English.
    for one, passes in ((flash.FLASH, 9), (flash.ENGLISH, 1)):
        assert runs[one]["block"][0] == pytest.approx(passes * runs[one]["pass"][0])
    assert "| a stream's first sound |" in shown
    assert "comes after the time of " in shown
    assert json.loads(shown.strip().splitlines()[-1]) == document["medians"]


def test_a_block_is_timed_between_blocks():
    """Two whole ones after the first, and a short one that does not count."""
    moments = [5.0] * 4 + [6.0] * 4 + [7.5] * 4 + [8.0] * 2
    assert clock.block_seconds(moments, 4, 5) == {"block": 1.25, "pass": 0.25}
    assert clock.block_seconds([1.0, 2.0, 4.0], 1, 1) == {"block": 1.5, "pass": 1.5}


def test_ratios_are_of_flash_to_each_other():
    whole = {name: [1.0] for name in (*flash.PARTS, "pass")}
    times = {
        flash.FLASH: {**whole, "block": [2.0, 2.0], "first_sound": [5.0, 5.0]},
        flash.ENGLISH: {**whole, "whole": [4.0], "block": [1.0, 1.0], "first_sound": [10.0, 10.0]},
        flash.TORCH: {"whole": [2.0]},
    }
    lines = {line.split("|")[1].strip(): line for line in flash.table(times).splitlines()}
    assert "| 1 s | 4 s | 2 s | 0.25 (0.25 to 0.25) | 0.50 (0.50 to 0.50) |" in lines["whole"]
    assert lines["a pass of T3"].endswith("| 1 s | 1 s |  | 1.00 (1.00 to 1.00) |  |")
    assert "2.5 blocks" in flash.note(times)
