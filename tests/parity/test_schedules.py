"""`python -m parity schedules`, which other tests play schedules without."""

from __future__ import annotations

import pytest

from mlx_chatterbox.parity.__main__ import main

SHORT = ["schedules", "--count", "2", "--first", "11", "--variants", "nano"]


@pytest.mark.parametrize("steps", ["c", "mlx"])
def test_all_is_right(capsys, steps):
    assert main([*SHORT, "--steps", steps]) == 0
    assert capsys.readouterr().out.rstrip().endswith("all equal to the bit")


def test_a_fault_is_reported_with_its_schedule_row_and_step(capsys):
    assert main([*SHORT, "--fault", "wrong_slot"]) == 1
    first, *_, last = capsys.readouterr().out.splitlines()
    assert first.startswith("nano: schedule ")
    assert "row " in first
    assert "logits" in first
    assert last.endswith("schedules failed")


def test_the_fast_mode_fails_on_nudged_rounding(capsys):
    nudges = ["--steps", "mlx", "--nudge", "rows"]
    assert main([*SHORT, *nudges]) == 0
    assert main([*SHORT, *nudges, "--mode", "fast"]) == 1
    assert "differ from those alone by up to" in capsys.readouterr().out


def test_an_unknown_fault_is_refused(capsys):
    assert main([*SHORT, "--fault", "none_such"]) == 1
    assert "'none_such' is not a fault; choose from one_position" in capsys.readouterr().err
