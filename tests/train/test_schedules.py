"""Transformers' schedules of the learning rate, against values computed by hand."""

from __future__ import annotations

import math

import pytest

from mlx_chatterbox.train.schedules import (
    SCHEDULES,
    check_settings,
    schedule,
    share,
    steps_of,
    warmup_length,
)

HALF_ROOT = math.sqrt(0.5)


# 110 steps with 10 of warm-up unless stated; the highest rate is 1e-3.
@pytest.mark.parametrize(
    ("kind", "settings", "values"),
    [
        ("linear", {}, {0: 0.0, 5: 0.5, 10: 1.0, 60: 0.5, 110: 0.0, 120: 0.0}),
        ("cosine", {}, {5: 0.5, 10: 1.0, 35: 0.5 + HALF_ROOT / 2, 60: 0.5, 110: 0.0}),
        ("cosine", {"num_cycles": 1.0}, {10: 1.0, 35: 0.5, 60: 0.0, 85: 0.5, 110: 1.0}),
        ("cosine_with_restarts", {}, {5: 0.5, 10: 1.0, 60: 0.5, 109: 0.000246719, 110: 0.0}),
        (
            "cosine_with_restarts",
            {"num_cycles": 2},
            {5: 0.5, 10: 1.0, 35: 0.5, 59: 0.000986636, 60: 1.0, 85: 0.5, 110: 0.0},
        ),
        ("cosine_with_min_lr", {"min_lr_rate": 0.2}, {5: 0.5, 10: 1.0, 60: 0.6, 110: 0.2}),
        ("cosine_with_min_lr", {"min_lr": 2e-4}, {5: 0.5, 10: 1.0, 60: 0.6, 110: 0.2}),
        # One step ahead of the others, so not 0 in the first step.
        ("cosine_warmup_with_min_lr", {"min_lr_rate": 0.0}, {0: 0.1, 9: 1.0, 59: 0.5, 109: 0.0}),
        (
            "cosine_warmup_with_min_lr",
            {"min_lr": 2e-4, "warmup_lr_rate": 0.1},
            {0: 0.1, 3: 0.4, 9: 1.0, 59: 0.6, 109: 0.2},
        ),
        ("polynomial", {"lr_end": 0.0}, {5: 0.5, 10: 1.0, 60: 0.5, 110: 0.0}),
        ("polynomial", {}, {10: 1.0, 60: 0.50005, 110: 1e-4, 130: 1e-4}),
        (
            "polynomial",
            {"lr_end": 1e-4, "power": 2},
            {5: 0.5, 10: 1.0, 60: 0.9 * 0.25 + 0.1, 110: 0.1},
        ),
        ("constant", {}, {0: 1.0, 5: 1.0, 110: 1.0}),
        ("constant_with_warmup", {}, {0: 0.0, 5: 0.5, 10: 1.0, 110: 1.0}),
        # The square root of warm-up over step; the time scale is the warm-up's length.
        ("inverse_sqrt", {}, {5: 0.5, 10: 1.0, 20: HALF_ROOT, 40: 0.5, 90: 1 / 3}),
        ("inverse_sqrt", {"timescale": 30}, {10: 1.0, 40: HALF_ROOT, 100: 0.5}),
        (
            "warmup_stable_decay",
            {"num_decay_steps": 20},
            {5: 0.5, 10: 1.0, 89: 1.0, 90: 1.0, 100: 0.5, 110: 0.0},
        ),
        (
            "warmup_stable_decay",
            {"num_decay_steps": 20, "decay_type": "linear", "min_lr_ratio": 0.2},
            {0: 0.2, 5: 0.6, 89: 1.0, 95: 0.8, 105: 0.4, 110: 0.2},
        ),
        (
            "warmup_stable_decay",
            {"num_decay_steps": 20, "decay_type": "1-sqrt", "warmup_type": "cosine"},
            {0: 0.0, 5: 0.5, 90: 1.0, 95: 0.5, 110: 0.0},
        ),
        (
            "warmup_stable_decay",
            {"num_decay_steps": 20, "num_stable_steps": 40, "warmup_type": "1-sqrt"},
            {5: 1 - HALF_ROOT, 49: 1.0, 60: 0.5, 70: 0.0, 109: 0.0},
        ),
        # Default: the last tenth.
        ("warmup_stable_decay", {}, {10: 1.0, 99: 1.0, 110: 0.0}),
    ],
)
def test_schedules_are_transformers(kind, settings, values):
    factor = schedule(kind, 110, 10, 1e-3, settings)
    found = {step: factor(step) for step in values}
    assert found == pytest.approx(values, abs=1e-9)


def test_an_inverse_square_root_without_warm_up_falls_slowly():
    factor = schedule("inverse_sqrt", 110, 0)
    assert factor(0) == 1.0
    assert factor(10_000) == pytest.approx(HALF_ROOT)


@pytest.mark.parametrize("kind", SCHEDULES)
def test_no_schedule_leaves_its_bounds_in_any_run(kind):
    """Runs of one step, and runs shorter than their warm-up."""
    settings = {"min_lr_rate": 0.1} if "min_lr" in SCHEDULES[kind] else {}
    for total, warmup in ((1, 0), (1, 1), (7, 0), (7, 6), (5, 9), (30, 3)):
        factor = schedule(kind, total, warmup, 1e-3, settings)
        assert all(0.0 <= factor(step) <= 1.0 + 1e-12 for step in range(total + 1))


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("linear", {"power": 2}, "linear has no setting power; it has none"),
        ("cosine_with_restarts", {"num_cycle": 2}, "did you mean num_cycles"),
        ("cosine_with_restarts", {"num_cycles": 0}, "num_cycles must be more than 0"),
        ("cosine_with_restarts", {"num_cycles": "two"}, "must be a number, not two"),
        ("cosine_with_min_lr", {}, "needs one of min_lr"),
        ("cosine_with_min_lr", {"min_lr": 1e-5, "min_lr_rate": 0.1}, "needs one of min_lr"),
        ("polynomial", {"lr_end": 1e-3}, "lr_end 0.001 must be less than learning_rate 0.001"),
        ("warmup_stable_decay", {"decay_type": "steep"}, "must be linear, cosine, 1-sqrt"),
        ("warmup_stable_decay", {"num_decay_steps": -1}, "must be at least 0"),
        ("sawtooth", {}, "unknown schedule 'sawtooth'"),
    ],
)
def test_settings_that_a_schedule_cannot_do_with_are_refused(kind, settings, message):
    with pytest.raises(ValueError, match=message):
        check_settings(kind, settings, 1e-3)
    with pytest.raises(ValueError, match=message):
        schedule(kind, 110, 10, 1e-3, settings)


def test_steps_are_numbers_or_shares_of_all():
    assert [steps_of(value, 90) for value in (1, 500, 0.1, 0.5, 0.001)] == [1, 500, 9, 45, 1]
    assert [share(part, 10) for part in (0.05, 0.5, 1.1, 0.7, 2.0)] == [1, 5, 11, 7, 20]
    assert warmup_length(101, 0, 0.1) == 11
    assert warmup_length(101, 7, 0.0) == 7
