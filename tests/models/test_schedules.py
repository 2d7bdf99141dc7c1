"""Rows that share an engine are to the bit what they are alone, in random schedules."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace

import pytest

from mlx_chatterbox.doctor.playing import ScheduleResult, play
from mlx_chatterbox.doctor.repertoire import Repertoire
from mlx_chatterbox.doctor.repertoires import NAMES, small_repertoire
from mlx_chatterbox.doctor.schedules import PlannedRow, Schedule, drawn_schedule
from mlx_chatterbox.doctor.small_t3 import small_t3
from mlx_chatterbox.doctor.t3_repertoire import T3Repertoire
from mlx_chatterbox.models.decoder.native_step import MOST_ROWS, NativeStep
from mlx_chatterbox.models.decoder.queued_steppers import alike_width
from mlx_chatterbox.parity.invariance.engine_faults import FAULTS, engine_fault
from mlx_chatterbox.parity.invariance.nudging import nudged
from mlx_chatterbox.parity.taps.replacing import replaced
from mlx_chatterbox.runtime import device, native

pytestmark = pytest.mark.numbers

# Who makes a step: this package's C where it is in use, MLX alone, MLX as on a GPU.
STEPS = ("c", "mlx", "gpu")
AS_GPU = ("english", "nano", "flash", "chattts")
# These catch most faults; the others come after them.
GOOD_SEEDS = (12, 15, 20)
# Of logits in the engine's mode `fast`, whose spread is 3.
FAST_TOLERANCE = 1e-3


@contextmanager
def steps_by(kind: str):
    with ExitStack() as stack:
        if kind != "c":
            stack.enter_context(replaced(NativeStep, "of", classmethod(lambda cls, t3: None)))
        if kind == "gpu":
            stack.enter_context(device.pretend("gpu"))
        yield


def played(repertoire: Repertoire, seeds, most_rows: int = 9) -> list[ScheduleResult]:
    return [play(drawn_schedule(seed, repertoire, most_rows), repertoire) for seed in seeds]


def problems(results: list[ScheduleResult]) -> list[str]:
    return [result.problem for result in results if result.problem]


def crowd(repertoire: Repertoire, **how) -> Schedule:
    """A schedule in which a dozen guided rows join at once."""
    numbers = [
        number
        for number, request in enumerate(repertoire.requests)
        if request.cfg_weight > 0 and repertoire.alone(number).end != "failed"
    ]
    numbers.sort(key=lambda number: -len(repertoire.alone(number).tokens))
    rows = tuple(PlannedRow(numbers[i % len(numbers)], 0) for i in range(12))
    return replace(Schedule(0, rows, 16, None, None, "one"), **how)


@pytest.mark.parametrize(
    ("steps", "variant"),
    [
        (steps, variant)
        for steps in STEPS
        for variant in NAMES
        if steps != "gpu" or variant in AS_GPU
    ],
)
def test_rows_in_company_are_as_alone(variant, steps):
    with steps_by(steps):
        repertoire = small_repertoire(variant, count=6)
        results = played(repertoire, GOOD_SEEDS[:2], most_rows=6)
    assert not problems(results)
    assert sum(result.logits for result in results) > 50


@pytest.mark.slow
@pytest.mark.parametrize(
    ("steps", "precision"), [("mlx", "8bit"), ("gpu", "float16"), ("gpu", "bfloat16")]
)
def test_other_precisions(steps, precision):
    """In few schedules: a CPU multiplies halves number by number."""
    with steps_by(steps):
        repertoire = T3Repertoire(small_t3("turbo", precision), count=3, has_long=False)
        rows = (PlannedRow(0, 0), PlannedRow(2, 1, leaves=6), PlannedRow(0, 4), PlannedRow(2, 8))
        assert not play(Schedule(0, rows, 16, None, 1, "one"), repertoire).problem


def test_more_rows_than_one_product_takes():
    """A dozen guided sentences are two dozen product rows."""
    repertoire = T3Repertoire(small_t3("english"), count=12, has_long=False)
    result = play(crowd(repertoire), repertoire)
    assert not result.problem
    assert result.together > MOST_ROWS // 2


@pytest.mark.parametrize("width", [2, 3])
def test_any_width(width):
    with steps_by("mlx"):
        repertoire = T3Repertoire(small_t3("english"), count=6, width=width, has_long=False)
        assert not problems(played(repertoire, GOOD_SEEDS[:1]))


@pytest.mark.parametrize("steps", ["mlx", "gpu"])
def test_the_fast_mode_is_as_alone_up_to_rounding(steps):
    with steps_by(steps):
        how = {"mode": "fast", "has_long": False, "tolerance": FAST_TOLERANCE}
        repertoire = T3Repertoire(small_t3("turbo"), count=6, **how)
        assert not problems(played(repertoire, GOOD_SEEDS))


def test_schedules_have_everything():
    """All that may happen to a row happens in the schedules that are played."""
    repertoire = T3Repertoire(small_t3("english"))
    results = [*played(repertoire, range(9), most_rows=16), play(crowd(repertoire), repertoire)]
    assert not problems(results)
    assert {end for result in results for end in result.ends} == {
        "stop", "limit", "watch", "left", "failed",
    }  # fmt: skip
    assert {result.schedule.callers for result in results} == {"one", "others", "racing"}
    assert sum(result.preemptions for result in results) > 5
    assert max(result.together for result in results) > 8
    assert max(result.longest for result in results) > 512


def test_a_schedule_is_its_seeds():
    repertoire = T3Repertoire(small_t3("nano"), count=6)
    assert drawn_schedule(3, repertoire) == drawn_schedule(3, repertoire)
    assert drawn_schedule(3, repertoire) != drawn_schedule(4, repertoire)


@pytest.mark.parametrize("places", [False, True], ids=["rows", "places"])
@pytest.mark.parametrize(("variant", "steps"), [("english", "mlx"), ("turbo", "gpu")])
def test_invariance_does_not_depend_on_how_the_machine_rounds(variant, steps, places):
    """Products, softmax and attention round by the rows, a row's place, extent and padding."""
    with steps_by(steps), nudged(places):
        t3 = small_t3(variant)
        assert not places or alike_width(t3, 16) == 1
        assert not problems(played(T3Repertoire(t3, count=6), GOOD_SEEDS[:1]))


@pytest.mark.parametrize("places", [False, True], ids=["rows", "places"])
@pytest.mark.parametrize("steps", ["mlx", "gpu"])
def test_the_fast_mode_fails_where_rounding_depends_on_the_company(places, steps):
    """So the schedules can fail."""
    with steps_by(steps), nudged(places):
        repertoire = T3Repertoire(small_t3("turbo"), count=6, mode="fast", has_long=False)
        (problem,) = problems([play(crowd(repertoire), repertoire)])
    assert "differ from those alone by up to" in problem


def test_products_of_too_many_rows_in_c_are_seen(monkeypatch):
    """OpenBLAS rounds them by their number; so they are nudged, for BLAS libraries that do not."""
    if native.library() is None or not device.on_cpu():
        pytest.skip("no step is made in C here")
    monkeypatch.setattr("mlx_chatterbox.models.decoder.native_stepper.MOST_ROWS", 2 * MOST_ROWS)
    with nudged():
        repertoire = T3Repertoire(small_t3("english"), count=6, has_long=False)
        (problem,) = problems([play(crowd(repertoire), repertoire)])
    assert "differ from those alone by up to" in problem


@pytest.mark.parametrize(
    ("fault", "way"),
    [
        pytest.param(fault, way, id=f"{fault.name}-{way}")
        for fault in FAULTS
        for way in fault.ways[:1]
    ],
)
def test_a_planted_fault_is_caught(fault, way):
    assert_caught(fault, way)


@pytest.mark.slow
@pytest.mark.parametrize("fault", [f for f in FAULTS if len(f.ways) > 1], ids=lambda f: f.name)
def test_a_planted_fault_is_caught_also_where_mlx_makes_the_step(fault):
    for way in fault.ways[1:]:
        assert_caught(fault, way)


def assert_caught(fault, way: str) -> None:
    if way == "c" and (native.library() is None or not device.on_cpu()):
        way = "mlx" if "mlx" in fault.ways else pytest.skip("no step is made in C here")
    how = {"mode": "fast", "tolerance": FAST_TOLERANCE} if way == "fast" else {}
    nudging = nudged(fault.name == "untried_places") if way == "nudged" else nullcontext()
    with steps_by("c" if way == "c" else "mlx"), nudging, engine_fault(fault.name):
        repertoire = T3Repertoire(small_t3("english"), count=12, has_long=False, **how)
        schedules = (drawn_schedule(seed, repertoire) for seed in (*GOOD_SEEDS, *range(30)))
        assert any(play(schedule, repertoire).problem for schedule in schedules)


def test_faults_of_every_part_are_planted():
    assert {fault.part for fault in FAULTS} == {
        "join", "leave", "packing", "preemption", "admission",
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("variant", NAMES)
def test_fifty_schedules_of_each_network(variant, steps):
    with steps_by(steps):
        repertoire = small_repertoire(variant)
        assert not problems(played(repertoire, range(100, 150), most_rows=16))
