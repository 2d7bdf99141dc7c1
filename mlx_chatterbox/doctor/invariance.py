"""Check on this machine that a row's logits do not depend on its company in an engine.

Small networks with random weights, T3s with heads and vocabularies of full size and a ChatTTS,
decode random schedules of rows that join, leave and are preempted. Each row's logits must be to the
bit those of the same request alone.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from ..models.decoder.native_step import NativeStep
from ..runtime import device
from .examination import Examination
from .findings import Section
from .playing import ScheduleResult, play
from .repertoire import Repertoire
from .repertoires import small_repertoire
from .schedules import drawn_schedule

TITLE = "Batch invariance"
# Seconds without which it is not begun.
LEAST = 3.0
# Seconds of schedules for each network; at least so many schedules.
SECONDS, SECONDS_SHORT = 0.6, 0.3
FEWEST = 2
REQUESTS = 8


@dataclass(frozen=True)
class InvarianceCase:
    """A network whose rows are compared."""

    variant: str
    precision: str

    @property
    def name(self) -> str:
        return f"{self.variant}_{self.precision}"


def cases() -> list[InvarianceCase]:
    """List the networks: each kind, in the precisions that are used on this device."""
    precisions = ["float32", "8bit"] if device.on_cpu() else ["float32", "float16", "8bit"]
    pairs = [(variant, "float32") for variant in ("english", "nano", "flash", "chattts")]
    pairs += [("english", precision) for precision in precisions[1:]]
    return [InvarianceCase(*pair) for pair in pairs]


def examine(exam: Examination, section: Section) -> None:
    """Play schedules in mode `invariant`."""
    seconds = SECONDS_SHORT if exam.is_short else SECONDS
    for case in cases():
        title = f"{case.variant}, {case.precision}: rows in company as alone"
        with section.guarded(case.name, title):
            if not exam.allows(section, case.name, title, 2 * seconds):
                continue
            repertoire = small_repertoire(case.variant, case.precision, count=REQUESTS)
            results = play_for(repertoire, seconds)
            _prove(section, case.name, title, results, _step_of(repertoire))


def play_for(repertoire: Repertoire, seconds: float) -> list[ScheduleResult]:
    """Play schedules until the time is over or one shows a problem."""
    results: list[ScheduleResult] = []
    until = time.perf_counter() + seconds
    while len(results) < FEWEST or time.perf_counter() < until:
        results.append(play(drawn_schedule(len(results), repertoire), repertoire))
        if results[-1].problem:
            break
    return results


def _prove(
    section: Section, name: str, title: str, results: list[ScheduleResult], step: str
) -> None:
    problem = next((result.problem for result in results if result.problem), "")
    counted = (
        f"{len(results)} schedules, {sum(len(result.ends) for result in results)} rows, "
        f"{sum(result.preemptions for result in results)} preemptions, "
        f"{sum(result.logits for result in results)} logits compared; {step}"
    )
    is_right = not problem
    section.proof(
        name, title, is_right, "equal to the bit" if is_right else "it differs",
        note=counted if is_right else f"{problem}; {counted}",
    )  # fmt: skip


def _step_of(repertoire: Repertoire) -> str:
    network = repertoire.networks()[0]
    is_in_c = device.on_cpu() and NativeStep.of(network) is not None
    return "steps in this package's C" if is_in_c else "steps by MLX, mode invariant"
