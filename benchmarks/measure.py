"""Engines in turns, A B A B, so that a machine that slows down slows all of them."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from parity.progress import say

from .engines import Place, Worker, in_new_process, worker
from .errors import BenchmarkError
from .stages import AFTER_MEMORY, STAGES, TITLES, groups

# An engine that takes more seconds than this for a stage is timed once, not `runs` times.
PATIENCE = 45.0
# Relative RMS of T3's first logits; engines further apart have different weights.
SAME_MODEL = 1e-3


@dataclass
class Measured:
    """Results of a run.

    Attributes:
        seconds: stage -> engine -> seconds of each counted run; engines that cannot are absent.
        memory: variant -> engine -> bytes at most, while speaking one sentence.
        differences: peer -> relative RMS of its first logits from ours.
        limits: bytes and float32 operations a second that this machine reaches.
        about: versions, device and settings.
    """

    seconds: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    memory: dict[str, dict[str, int]] = field(default_factory=dict)
    differences: dict[str, float] = field(default_factory=dict)
    limits: dict[str, float] = field(default_factory=dict)
    about: dict = field(default_factory=dict)

    def add(self, engine: str, seconds: dict[str, float], wanted: list[str]) -> None:
        """Keep the seconds of those stages that were asked for."""
        for stage in wanted:
            self.seconds.setdefault(stage, {}).setdefault(engine, []).append(seconds[stage])


def measure_starts(measured: Measured, places: dict[str, Place], wanted: list[str], runs: int):
    """Time what happens in processes of their own: `import` and `load`."""
    chosen = [name for name in wanted if STAGES[name].in_new_process]
    for group, names in groups(chosen).items():
        actions = {
            engine: lambda steps, place=place, group=group: in_new_process(place, group)
            for engine, place in places.items()
        }
        _take_turns(measured, group, names, actions, runs, steps=0)


def measure_stages(
    measured: Measured,
    places: dict[str, Place],
    wanted: list[str],
    runs: int,
    steps: int,
    inputs: Path,
    variant: str,
):
    """Time what workers do, on one model.

    Raises:
        BenchmarkError: our own side failed.
    """
    chosen = groups([name for name in wanted if not STAGES[name].in_new_process])
    with ExitStack() as running:
        workers = {}
        for engine, place in places.items():
            say(f"{TITLES[engine]} loads the {variant} model ...")
            try:
                workers[engine] = running.enter_context(worker(place, inputs, variant))
            except BenchmarkError as error:
                _give_up(engine, "starting", error)
        if any(group == "t3" for group in chosen):
            _compare_logits(measured, workers)
        for group, names in chosen.items():
            if group in AFTER_MEMORY and variant not in measured.memory:
                measured.memory[variant] = _memory(workers)
            able = {name: w.run for name, w in workers.items() if group in w.groups}
            actions = {
                name: lambda steps, run=run, group=group: run(group, steps)
                for name, run in able.items()
            }
            _take_turns(measured, group, names, actions, runs, steps)
        if variant not in measured.memory:
            measured.memory[variant] = _memory(workers)


def _take_turns(
    measured: Measured,
    group: str,
    names: list[str],
    actions: dict[str, Callable[[int], dict[str, float]]],
    runs: int,
    steps: int,
):
    """Run engines in turns, once uncounted and `runs` times counted; a very slow one once.

    The first has one step of the flow: it meets every shape and kernel that all its steps do.
    """
    for name in names:
        measured.seconds.setdefault(name, {})
    for run in range(runs + 1):
        figures = []
        for engine in list(actions):
            began = time.monotonic()
            try:
                results = actions[engine](steps if run > 0 else 1)
            except BenchmarkError as error:
                _give_up(engine, group, error)
                del actions[engine]
                for name in names:
                    measured.seconds[name].pop(engine, None)
                continue
            if run > 0:
                measured.add(engine, results, names)
                if time.monotonic() - began > PATIENCE and engine != "ours":
                    del actions[engine]
            figures.append(
                f"{TITLES[engine]} " + ", ".join(f"{results[n]:.3f}" for n in names) + " s"
            )
        turn = f"run {run} of {runs}" if run > 0 else "warm-up"
        say(f"  {', '.join(names)}: {turn}: {'; '.join(figures)}")


def _give_up(engine: str, doing: str, error: BenchmarkError) -> None:
    if engine == "ours":
        raise BenchmarkError(f"ours, {doing}: {error}")
    say(f"{TITLES[engine]} is left out of {doing}: {error}")


def _memory(workers: dict[str, Worker]) -> dict[str, int]:
    results = {}
    for engine, running in workers.items():
        try:
            results[engine] = running.memory()
        except BenchmarkError as error:
            _give_up(engine, "memory", error)
    return results


def _compare_logits(measured: Measured, workers: dict[str, Worker]) -> None:
    """Check that each peer runs the same model as ours, and drop it if not."""
    with tempfile.TemporaryDirectory() as temporary:
        ours = workers["ours"].logits(Path(temporary, "ours.npy"))
        for engine in [name for name in workers if name != "ours"]:
            try:
                theirs = workers[engine].logits(Path(temporary, f"{engine}.npy"))
                difference = float(np.linalg.norm(theirs - ours) / np.linalg.norm(ours))
                if not difference < SAME_MODEL:
                    raise BenchmarkError(f"its logits differ from ours by {difference:.1e}")
            except (BenchmarkError, ValueError) as error:
                _give_up(engine, "everything", BenchmarkError(str(error)))
                del workers[engine]
                continue
            measured.differences[engine] = difference
            say(f"T3's first logits, {TITLES[engine]} beside ours: {difference:.1e} relative RMS")
