"""Random schedules: rows that join, leave, end and are preempted, each compared with itself alone.

A row's logits at every step must be to the bit those of the same request alone, whoever else is in
the engine. Tokens prove much less: logits that are 1e-5 apart draw the same tokens hundreds of
times.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .repertoire import Repertoire

# Who calls the engine: one thread; other threads, one after the other; a thread that joins and
# leaves while another one steps.
CALLERS = ("one", "one", "others", "racing")
_MOST_ROWS = 16


@dataclass(frozen=True)
class PlannedRow:
    """One row of a schedule.

    Attributes:
        request: its number in the repertoire.
        joins: step before which it joins.
        leaves: step before which it leaves, or None.
        ends_after: tokens after which its callback ends it, or None.
        raises_after: tokens after which its callback raises, or None.
        by_prefix: its voice is a prefix that was computed before.
    """

    request: int
    joins: int
    leaves: int | None = None
    ends_after: int | None = None
    raises_after: int | None = None
    by_prefix: bool = False


@dataclass(frozen=True)
class Schedule:
    """Rows of an engine, and the steps at which they come and go.

    Attributes:
        seed: that it was drawn from.
        rows: in the order in which they join.
        at_once: rows that may run at a time.
        positions: the engine's budget, or None.
        prefills: rows that may begin in one step, or None.
        callers: one of `CALLERS`.
    """

    seed: int
    rows: tuple[PlannedRow, ...]
    at_once: int
    positions: int | None
    prefills: int | None
    callers: str


def drawn_schedule(seed: int, repertoire: Repertoire, most_rows: int = _MOST_ROWS) -> Schedule:
    """Draw a schedule of a repertoire's requests, in which a request may occur twice."""
    draw = np.random.default_rng([seed, 2])
    # In some all come at once.
    gaps = [[0], [0, 0, 0, 1, 2], [0, 1, 2, 5, 20]][int(draw.integers(3))]
    rows: list[PlannedRow] = []
    step = 0
    for _ in range(int(draw.integers(2, most_rows + 1))):
        step += int(draw.choice(gaps))
        number = int(draw.integers(len(repertoire.requests)))
        limit = repertoire.requests[number].max_new_tokens
        fate, by_prefix = _drawn_fate(step, limit, draw), bool(draw.integers(2))
        rows.append(PlannedRow(number, step, **fate, by_prefix=by_prefix))
    at_once = int(draw.choice([1, 2, 3, 5, 8, 16, 16]))
    callers = CALLERS[int(draw.integers(len(CALLERS)))]
    prefills = None if draw.uniform() < 0.4 else int(draw.integers(1, 3))
    budget = _drawn_budget(rows, repertoire, draw)
    return Schedule(seed, tuple(rows), at_once, budget, prefills, callers)


def _drawn_fate(step: int, limit: int, draw: np.random.Generator) -> dict[str, int]:
    """Draw how a row ends; most end by themselves."""
    fate = draw.uniform()
    if fate < 0.2:
        return {"leaves": step + int(draw.integers(0, limit + 4))}
    if fate < 0.3:
        return {"ends_after": int(draw.integers(1, limit + 1))}
    return {"raises_after": int(draw.integers(1, limit + 1))} if fate < 0.35 else {}


def _drawn_budget(
    rows: list[PlannedRow], repertoire: Repertoire, draw: np.random.Generator
) -> int | None:
    """Draw a budget of slots: in most schedules rows fit in first and outgrow it."""
    if draw.uniform() < 0.25:
        return None
    at_first = [repertoire.slots(row.request) for row in rows[: int(draw.integers(2, 9))]]
    return max([sum(at_first), *(repertoire.most_slots(row.request) for row in rows)])
