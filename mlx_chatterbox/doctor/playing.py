"""Play a schedule in an engine, and look for the first thing that is not as it must be."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from typing import Any

import numpy as np

from ..models.decoder.rows import Row
from .repertoire import AloneRun, Repertoire
from .schedules import PlannedRow, Schedule

# Steps that a row may take beyond its tokens, twice: it may run once more after a preemption.
_STEPS_BEYOND = 4


class PlannedFailure(Exception):
    """Raised by the callback of a row that is to fail."""


@dataclass
class ScheduleResult:
    """Findings of one schedule.

    Attributes:
        problem: the first thing that is wrong; "" if everything is right.
        steps: of the engine.
        logits: arrays that were compared.
        preemptions: times that a row had to make room.
        together: most rows that ran at a time.
        longest: positions of the longest row.
        ends: of the rows.
    """

    schedule: Schedule
    problem: str = ""
    steps: int = 0
    logits: int = 0
    preemptions: int = 0
    together: int = 0
    longest: int = 0
    ends: tuple[str, ...] = ()


class _Watched:
    """A row of a schedule, and all that the engine says of it.

    Attributes:
        ended_before: steps that had begun when it was asked to leave.
        was_alive: True if it had not ended then.
        restarts: how often its logits began again.
        latest: index of its latest logits; -1 before the first.
    """

    def __init__(self, number: int, plan: PlannedRow, alone: AloneRun, play: _Play):
        self.number, self.plan, self.alone, self._play = number, plan, alone, play
        self.row: Row | None = None
        self.tokens: list[Any] = []
        self.delivered: list[Any] = []
        self.error = PlannedFailure(f"row {number}")
        self.ended_before: int | None = None
        self.was_alive = False
        self.restarts = 0
        self.latest = self._most = -1

    def on_logits(self, index: int, logits: np.ndarray) -> None:
        """Compare logits, also those of a replay, with the row's alone."""
        result = self._play.result
        result.logits += 1
        if index > self._most + 1:
            self.complain(f"logits {index} come after logits {self._most}")
        self.restarts += index != self.latest + 1
        self.latest, self._most = index, max(index, self._most)
        if index >= len(self.alone.logits):
            # A step that is queued before the row's end is known may be made or not.
            if index > len(self.alone.logits):
                self.complain(f"logits {index} come after its end")
            return
        expected = self.alone.logits[index]
        if logits.dtype != np.float32 or logits.shape != expected.shape:
            self.complain(f"logits {index} are {logits.dtype} {logits.shape}")
        else:
            apart = _difference(logits, expected)
            if apart > self._play.tolerance:
                again = ", after a preemption" if self.restarts else ""
                self.complain(f"logits {index}{again} differ from those alone by up to {apart:.3g}")

    def on_token(self, token: Any) -> bool:
        """Note a token; end the row or raise where the plan says so."""
        self.tokens.append(token)
        count = len(self.tokens)
        if self.ended_before is not None and self._play.begun > self.ended_before:
            self.complain(f"token {count - 1} comes after it left")
        if self.plan.raises_after == count:
            raise self.error
        return self.plan.ends_after == count

    def complain(self, problem: str) -> None:
        self._play.complain(f"row {self.number} (request {self.plan.request}): {problem}")

    def check_tokens(self) -> None:
        """Check that the callback, the steps and the handle agree, and agree with the row alone."""
        assert self.row is not None
        expected = self.alone.tokens[: len(self.tokens)]
        if self.tokens != expected:
            self.complain(f"its tokens {self.tokens} are not those alone, {expected}")
        apart = map(_difference, self.row.hidden, self.alone.hidden)
        if any(one > self._play.tolerance for one in apart):
            self.complain("its hidden states are not those alone")
        # A token whose callback raised may or may not count as delivered.
        short = len(self.tokens) - (self.plan.raises_after == len(self.tokens))
        for name, tokens in (("step()", self.delivered), ("its handle", self.row.tokens)):
            if list(tokens) not in (self.tokens, self.tokens[:short]):
                self.complain(f"{name} has tokens {list(tokens)}, its callback {self.tokens}")
        kept = len(self.row.tokens) if self.alone.hidden else 0
        if len(self.row.hidden) != kept:
            self.complain(f"{len(self.row.hidden)} hidden states for {len(self.row.tokens)} tokens")

    def check_end(self) -> None:
        """Check that it ended as it had to."""
        assert self.row is not None
        if self.row.state != "ended":
            self.complain(f"it is {self.row.state} when the engine is idle")
            return
        count, tokens = len(self.tokens), self.alone.tokens
        ends = {len(tokens): {self.alone.end}}
        for name, at in (("watch", self.plan.ends_after), ("failed", self.plan.raises_after)):
            if at is not None and at <= len(tokens):
                # At its last token both reasons hold.
                ends = {at: {name} | (ends[at] if at == len(tokens) else set())}
        if self.row.end == "left":
            if self.ended_before is None:
                self.complain("it ended by leaving, and was not asked to")
        elif self.was_alive:
            self.complain(f"it was asked to leave and ended by {self.row.end!r}")
        elif self.row.end not in ends.get(count, set()):
            self.complain(
                f"it ended by {self.row.end!r} ({self.row.error!r}) after {count} tokens; "
                f"it had to end as in {ends}"
            )
        if (self.row.end == "failed") != (self.row.error is not None):
            self.complain(f"it ended by {self.row.end!r} with the error {self.row.error!r}")
        is_planned = self.row.end == "failed" and self.plan.raises_after == count
        if is_planned and self.alone.end != "failed" and self.row.error is not self.error:
            self.complain(f"its error is {self.row.error!r}, not that of its callback")


def _difference(logits: np.ndarray, expected: np.ndarray) -> float:
    """Largest difference; infinite where one is not a number and the other is."""
    if np.array_equal(logits, expected, equal_nan=True):
        return 0.0
    apart = np.abs(logits.astype(np.float64) - expected)
    return float(np.where(np.isnan(apart), np.inf, apart).max())


class _Play:
    """One run of a schedule."""

    def __init__(self, schedule: Schedule, repertoire: Repertoire):
        self._schedule, self._repertoire = schedule, repertoire
        self._engine = repertoire.engine(
            rows=schedule.at_once, positions=schedule.positions, prefills=schedule.prefills
        )
        self.result, self.tolerance = ScheduleResult(schedule), repertoire.tolerance
        self.begun = 0
        self._lock = threading.Lock()
        self._rows = [
            _Watched(number, plan, repertoire.alone(plan.request, plan.by_prefix), self)
            for number, plan in enumerate(schedule.rows)
        ]
        self._by_row: dict[int, _Watched] = {}
        self._most_steps = sum(2 * (len(row.alone.logits) + _STEPS_BEYOND) for row in self._rows)

    def complain(self, problem: str) -> None:
        """Note the first problem."""
        schedule = self._schedule
        with self._lock:
            if not self.result.problem:
                self.result.problem = (
                    f"schedule {schedule.seed}, step {self.begun} ({len(schedule.rows)} rows, "
                    f"{schedule.at_once} at once, positions {schedule.positions}, prefills "
                    f"{schedule.prefills}, callers {schedule.callers}): {problem}"
                )

    def play(self) -> ScheduleResult:
        """Run the engine until it is idle and nobody is to come."""
        with ThreadPoolExecutor(1) as others:
            if self._schedule.callers == "racing":
                self._race(others)
            else:
                self._take_turns(others)
        if not self.result.problem:
            for row in self._rows:
                row.check_tokens()
                row.check_end()
        self.result.steps = self.begun
        self.result.preemptions = self._engine.interruptions
        self.result.ends = tuple(row.row.end if row.row else "" for row in self._rows)
        return self.result

    def _take_turns(self, others: ThreadPoolExecutor) -> None:
        """Join and leave between two steps."""
        events = deque(self._events())
        while not self.result.problem and (events or not self._engine.is_idle):
            while events and (events[0][0] <= self.begun or self._engine.is_idle):
                action = events.popleft()[1]
                if self._schedule.callers == "one":
                    action()
                else:
                    others.submit(action).result()
            self._step()

    def _race(self, others: ThreadPoolExecutor) -> None:
        """Join and leave while steps are made, at about the planned ones."""
        stopped = threading.Event()

        def act() -> None:
            for step, action in self._events():
                while self.begun < step and not self._engine.is_idle:
                    if stopped.wait(1e-4):
                        return
                action()

        acting = others.submit(act)
        try:
            while not self.result.problem and not (acting.done() and self._engine.is_idle):
                if not self._engine.is_idle:
                    self._step()
        finally:
            stopped.set()
        acting.result()

    def _events(self) -> list[tuple[int, Callable[[], None]]]:
        """Joins and leaves in the order of their steps; rows join in their order."""
        events = [(row.plan.joins, partial(self._join, row)) for row in self._rows]
        for row in self._rows:
            if row.plan.leaves is not None:
                events.append((row.plan.leaves, partial(self._leave, row)))
        return sorted(events, key=itemgetter(0))

    def _join(self, watched: _Watched) -> None:
        plan = watched.plan
        callbacks = {"on_token": watched.on_token, "on_logits": watched.on_logits}
        request = self._repertoire.request(plan.request, plan.by_prefix, **callbacks)
        watched.row = self._engine.join(request)
        self._by_row[id(watched.row)] = watched

    def _leave(self, watched: _Watched) -> None:
        assert watched.row is not None
        # Another thread may step between these two lines.
        is_known = self._schedule.callers != "racing"
        watched.was_alive = is_known and watched.row.state != "ended"
        self._engine.leave(watched.row)
        watched.ended_before = self.begun

    def _step(self) -> None:
        """Make a step and check what can be seen between two steps."""
        engine, is_racing = self._engine, self._schedule.callers == "racing"
        before = [row.number for row in engine.waiting]
        self.begun += 1
        delivered = engine.step()
        for row, token in delivered:
            self._by_row[id(row)].delivered.append(token)
        running, waiting = engine.running, engine.waiting
        self.result.together = max(self.result.together, len(running))
        self._check_order([row.number for row in running], [row.number for row in waiting], before)
        for watched in self._rows:
            if watched.row is not None and not is_racing:
                watched.check_tokens()
        self._check_budget(running)
        if self.begun > self._most_steps + self._schedule.rows[-1].joins:
            self.complain(f"rows starve: {self.begun} steps do not suffice")

    def _check_order(self, running: list[int], waiting: list[int], before: list[int]) -> None:
        """Check that rows are admitted in the order of arrival, and the youngest preempted."""
        if len(running) > self._schedule.at_once:
            self.complain(f"{len(running)} rows run")
        if sorted(waiting) != waiting:
            self.complain(f"the queue is {waiting}, not in the order of arrival")
        # Rows that joined meanwhile are not in the way of any.
        known = [number for number in waiting if number in before or number in running]
        if running and known and max(running) > min(known):
            self.complain(f"rows {running} run while rows {waiting} wait")

    def _check_budget(self, running: list[Row]) -> None:
        watched = [self._by_row[id(row)] for row in running]
        # The latest token takes its slot in the next step.
        drawn = [max(0, one.latest) for one in watched]
        numbers = [one.plan.request for one in watched]
        lengths = map(self._repertoire.prompt, numbers)
        ends = [length + more for length, more in zip(lengths, drawn, strict=True)]
        self.result.longest = max([self.result.longest, *ends])
        slots = sum(map(self._repertoire.slots, numbers, drawn))
        budget = self._schedule.positions
        # One row always runs.
        if budget is not None and len(running) > 1 and slots > budget:
            self.complain(f"{slots} slots are in use")


def play(schedule: Schedule, repertoire: Repertoire) -> ScheduleResult:
    """Play a schedule and compare each row with itself alone."""
    return _Play(schedule, repertoire).play()
