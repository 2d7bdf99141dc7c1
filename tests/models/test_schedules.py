"""Rows that share an engine are to the bit what they are alone, in random schedules."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import replace

import pytest

from mlx_chatterbox.doctor.playing import ScheduleResult, play
from mlx_chatterbox.doctor.repertoire import Repertoire
from mlx_chatterbox.doctor.schedules import PlannedRow, Schedule, drawn_schedule
from mlx_chatterbox.doctor.small_t3 import SIZES, small_t3
from mlx_chatterbox.models.t3.native_step import MOST_ROWS, NativeStep
from mlx_chatterbox.parity.invariance.nudging import nudged
from mlx_chatterbox.parity.taps.replacing import replaced
from mlx_chatterbox.runtime import device

pytestmark = pytest.mark.numbers

# Who makes a step: this package's C where it is in use, MLX alone, MLX as on a GPU.
STEPS = ("c", "mlx", "gpu")


@contextmanager
def steps_by(kind: str):
    with ExitStack() as stack:
        if kind != "c":
            stack.enter_context(replaced(NativeStep, "of", classmethod(lambda cls, t3: None)))
        if kind == "gpu":
            stack.enter_context(device.pretend("gpu"))
        yield


def played(repertoire: Repertoire, seeds) -> list[ScheduleResult]:
    return [play(drawn_schedule(seed, repertoire), repertoire) for seed in seeds]


def problems(results: list[ScheduleResult]) -> list[str]:
    return [result.problem for result in results if result.problem]


def crowd(repertoire: Repertoire, guided: bool, **how) -> Schedule:
    """A schedule in which a dozen rows join at once."""
    numbers = [
        number
        for number, request in enumerate(repertoire.requests)
        if (request.cfg_weight > 0) == guided and repertoire.alone(number).end != "failed"
    ]
    by_length = sorted(numbers, key=lambda number: -len(repertoire.alone(number).tokens))
    rows = tuple(PlannedRow(by_length[i % len(by_length)], 0) for i in range(12))
    return replace(Schedule(0, rows, 16, None, "one"), **how)


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("variant", SIZES)
def test_rows_in_company_are_as_alone(variant, steps):
    with steps_by(steps):
        repertoire = Repertoire(small_t3(variant), count=10)
        results = played(repertoire, range(3))
    assert not problems(results)
    assert sum(result.logits for result in results) > 100


@pytest.mark.parametrize(
    ("steps", "precision"), [("mlx", "8bit"), ("gpu", "float16"), ("gpu", "bfloat16")]
)
def test_other_precisions(steps, precision):
    with steps_by(steps):
        repertoire = Repertoire(small_t3("english", precision), count=6, has_long=False)
        assert not problems(played(repertoire, range(2)))


@pytest.mark.parametrize("variant", ["english", "turbo"])
def test_more_rows_than_one_product_takes(variant):
    """A dozen guided sentences are two dozen product rows."""
    repertoire = Repertoire(small_t3(variant), count=16, has_long=False)
    result = play(crowd(repertoire, guided=True), repertoire)
    assert not result.problem
    assert result.together > MOST_ROWS // 2


@pytest.mark.parametrize("width", [1, 3, 16])
def test_any_width(width):
    with steps_by("mlx"):
        repertoire = Repertoire(small_t3("english"), count=6, width=width, has_long=False)
        assert not problems(played(repertoire, range(2)))


def test_schedules_have_everything():
    """All that may happen to a row happens in the schedules that are played."""
    repertoire = Repertoire(small_t3("english"))
    results = played(repertoire, range(12))
    assert not problems(results)
    assert {end for result in results for end in result.ends} == {
        "stop", "limit", "watch", "left", "failed",
    }  # fmt: skip
    assert {result.schedule.callers for result in results} == {"one", "others", "racing"}
    assert sum(result.preemptions for result in results) > 5
    assert max(result.together for result in results) > 5
    assert max(result.longest for result in results) > 512


def test_a_schedule_is_its_seeds():
    repertoire = Repertoire(small_t3("nano"), count=6)
    assert drawn_schedule(3, repertoire) == drawn_schedule(3, repertoire)
    assert drawn_schedule(3, repertoire) != drawn_schedule(4, repertoire)


@pytest.mark.parametrize("steps", ["mlx", "gpu"])
@pytest.mark.parametrize("places", [False, True], ids=["rows", "places"])
@pytest.mark.parametrize("variant", ["english", "turbo"])
def test_invariance_does_not_depend_on_how_the_machine_rounds(variant, places, steps):
    """Products, softmax and attention round by the rows, a row's place, extent and padding."""
    with steps_by(steps), nudged(places):
        repertoire = Repertoire(small_t3(variant), count=6, has_long=steps == "mlx")
        assert not problems(played(repertoire, range(2)))


@pytest.mark.parametrize("steps", ["mlx", "gpu"])
@pytest.mark.parametrize("places", [False, True], ids=["rows", "places"])
@pytest.mark.parametrize("variant", ["english", "turbo"])
def test_the_fast_mode_fails_where_rounding_depends_on_the_company(variant, places, steps):
    """So the schedules can fail."""
    with steps_by(steps), nudged(places):
        repertoire = Repertoire(small_t3(variant), count=6, mode="fast", has_long=False)
        (problem,) = problems([play(crowd(repertoire, guided=True), repertoire)])
    assert "differ from those alone by up to" in problem


@pytest.mark.slow
@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("variant", SIZES)
def test_fifty_schedules_of_each_network(variant, steps):
    with steps_by(steps):
        repertoire = Repertoire(small_t3(variant))
        assert not problems(played(repertoire, range(100, 150)))
