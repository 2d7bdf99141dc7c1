"""The table of Flash's steps, which does not depend on scores."""

from __future__ import annotations

import numpy as np
import pytest

from mlx_chatterbox.errors import SettingError
from mlx_chatterbox.models.flash.schedule import reaching_quantile, scheduled, table
from mlx_chatterbox.models.flash.settings import FlashSampling
from mlx_chatterbox.parity.numpy import flash


@pytest.mark.parametrize(
    ("tau", "steps", "expected"),
    [
        (0.0, 10, [1, 1, 1, 1, 1, 2, 2, 2, 2, 3]),
        (0.1, 10, [1, 1, 1, 1, 1, 2, 2, 2, 2, 3]),
        (0.5, 10, [1, 2, 2, 3, 2, 2, 2, 2]),
        (0.75, 10, [2, 2, 3, 3, 2, 2, 2]),
        (1.0, 10, [2, 3, 4, 3, 2, 2]),
        (0.0, 8, [1, 1, 2, 1, 2, 3, 2, 4]),
        (0.5, 8, [1, 2, 3, 3, 2, 3, 2]),
    ],
)
def test_a_block_of_sixteen(tau, steps, expected):
    sampling = FlashSampling(time_shift_tau=tau, num_steps=steps)
    assert list(table(16, sampling)) == expected


def test_other_lengths():
    assert scheduled(12, 10, 0.5) == [1, 0, 1, 1, 1, 1, 1, 2, 2, 2]
    assert scheduled(32, 10, 0.5) == [2, 2, 2, 2, 3, 3, 3, 4, 5, 6]
    assert scheduled(16, 10, 0.0) == [1] * 9 + [7]
    assert scheduled(3, 10, 0.0) == [0] * 9 + [3]
    assert scheduled(5, 1, 0.5) == [5]


@pytest.mark.parametrize("length", [1, 2, 7, 12, 16, 24, 32, 64])
@pytest.mark.parametrize("steps", [1, 3, 8, 10, 40])
@pytest.mark.parametrize("tau", [0.0, 0.1, 0.37, 0.5, 0.75, 1.0, 3.0])
def test_random_scores_give_the_table(length, steps, tau):
    random = np.random.default_rng(length * steps)
    masked, counts = length, []
    for step, least in enumerate(flash.schedule(length, steps, 0.5)):
        values = random.standard_normal(masked)
        early = flash.early(values, step, steps, tau) if masked else 0
        assert reaching_quantile(masked, step, steps, tau) == early
        counts.append(masked if step == steps - 1 else min(max(int(least), early), masked))
        masked -= counts[-1]
        if not masked:
            break
    assert list(table(length, FlashSampling(num_steps=steps, time_shift_tau=tau))) == counts
    assert sum(counts) == length


@pytest.mark.parametrize(
    "wrong",
    [
        {"num_steps": 0},
        {"num_steps": 2.5},
        {"num_steps": True},
        {"temperature": -0.1},
        {"temperature": float("nan")},
        {"temperature": 1e-12},
        {"time_shift_tau": -1},
        {"schedule_t_shift": float("inf")},
        {"cfg_scale": "1"},
        {"cfg_scale": -1},
        {"position_temperature": -5.0},
        {"prior_precompute": 1},
        {"upstream_exact": "yes"},
    ],
)
def test_settings_that_are_refused(wrong):
    with pytest.raises(SettingError, match=next(iter(wrong))):
        FlashSampling(**wrong)
