"""What one row of an engine may do to others: nothing."""

from __future__ import annotations

import numpy as np
import pytest

from mlx_chatterbox.doctor.playing import play
from mlx_chatterbox.doctor.repertoire import Repertoire
from mlx_chatterbox.doctor.schedules import PlannedRow, Schedule
from mlx_chatterbox.doctor.small_t3 import small_t3
from mlx_chatterbox.doctor.t3_repertoire import T3Repertoire
from mlx_chatterbox.models.decoder import engine as engine_module
from mlx_chatterbox.models.decoder.engine import DecodingEngine
from mlx_chatterbox.runtime import device, parallel
from tests.models.test_schedules import FAST_TOLERANCE, steps_by

pytestmark = pytest.mark.numbers
NAN = 8


@pytest.fixture(scope="module")
def turbo():
    return small_t3("turbo")


def longest(repertoire: Repertoire) -> int:
    return max(range(8), key=lambda number: len(repertoire.alone(number).tokens))


@pytest.mark.parametrize("steps", ["mlx", "gpu"])
def test_a_row_of_nan_leaves_nothing_to_the_next_in_its_place(turbo, steps):
    """As on a GPU a place stays; masked slots that are NaN would make all of its row NaN."""
    with steps_by(steps):
        how = {"mode": "fast", "tolerance": FAST_TOLERANCE, "has_long": False}
        repertoire = T3Repertoire(turbo, 9, **how)
        assert repertoire.alone(NAN).end == "failed"
        others = [PlannedRow(longest(repertoire), 0) for _ in range(3)]
        rows = (*others, PlannedRow(NAN, 0), PlannedRow(longest(repertoire), 6))
        assert not play(Schedule(0, rows, 16, None, None, "one"), repertoire).problem


@pytest.mark.parametrize("steps", ["c", "mlx"])
def test_a_callback_that_steps_fails_alone(turbo, steps):
    with steps_by(steps):
        repertoire = T3Repertoire(turbo, 8, has_long=False)
        engine, number = repertoire.engine(rows=8), longest(repertoire)
        stepping = engine.join(repertoire.request(number, on_token=lambda token: engine.step()))
        other = engine.join(repertoire.request(number))
        engine.run_until_idle()
    assert stepping.end == "failed"
    assert "within a step" in str(stepping.error)
    assert other.tokens == repertoire.alone(number).tokens


def test_a_row_that_leaves_while_it_is_interrupted_ends(turbo, monkeypatch):
    """Another thread may call `leave` at any moment of a step."""
    repertoire = T3Repertoire(turbo, 8, has_long=False)
    growing = [n for n in range(8) if repertoire.slots(n) < repertoire.most_slots(n)]
    grown = next(n for n in growing if len(repertoire.alone(n).tokens) > 16)
    engine = repertoire.engine(rows=8, positions=512)
    interrupt, left = DecodingEngine._interrupt, []

    def leave_then_interrupt(one, row):
        one.leave(row)
        left.append((row, len(row.tokens)))
        interrupt(one, row)

    monkeypatch.setattr(DecodingEngine, "_interrupt", leave_then_interrupt)
    engine.join(repertoire.request(grown))
    engine.join(repertoire.request(longest(repertoire)))
    while not left:
        engine.step()
    ((row, count),) = left
    assert (row.state, row.end) == ("ended", "left")
    engine.run_until_idle()
    assert len(row.tokens) == count


@pytest.mark.parametrize("threads", [1, 2])
def test_the_number_of_a_blas_threads_does_not_matter(threads):
    """Another engine, in another thread, may change it at any time (red without our C)."""
    blas = parallel._blas()
    if blas is None or not device.on_cpu():
        pytest.skip("no OpenBLAS computes here")
    before = blas.openblas_get_num_threads()
    with steps_by("mlx"):
        t3 = small_t3("english")
        repertoire, other = (T3Repertoire(t3, 6, has_long=False) for _ in range(2))
        expected = repertoire.alone(1).logits
        blas.openblas_set_num_threads(threads)
        try:
            found = other.alone(1).logits
        finally:
            blas.openblas_set_num_threads(before)
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("steps", ["c", "mlx"])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("where", ["prefill", "join"])
def test_a_row_that_cannot_begin_fails_alone(turbo, monkeypatch, steps, error, where):
    """Ctrl-C is raised, and the engine goes on afterwards."""
    with steps_by(steps):
        repertoire = T3Repertoire(turbo, 8, has_long=False)
        engine, number = repertoire.engine(rows=8), longest(repertoire)
        other = engine.join(repertoire.request(number))
        engine.step()
        stepper, begun = type(next(iter(engine._steppers.values()))), []

        def broken(*_):
            begun.append(1)
            raise error("broken")

        if where == "prefill":
            monkeypatch.setattr(engine_module, "prefill", broken)
        else:
            monkeypatch.setattr(stepper, "_draw", broken)
        row = engine.join(repertoire.request(number))
        if error is KeyboardInterrupt:
            with pytest.raises(KeyboardInterrupt):
                engine.step()
        else:
            with monkeypatch.context() as only:
                only.setattr(stepper, "advance", lambda self, rows: None)
                engine.step()
        monkeypatch.undo()
        assert begun == [1]
        assert (row.state, row.end) == ("ended", "failed")
        assert isinstance(row.error, RuntimeError if error is KeyboardInterrupt else error)
        engine.run_until_idle()
    assert other.tokens == repertoire.alone(number).tokens
