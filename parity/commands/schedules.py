"""`schedules`, which proves that rows of a decoding engine do not depend on their company."""

from __future__ import annotations

import sys
from contextlib import ExitStack, nullcontext

from tqdm import tqdm

from mlx_chatterbox.doctor.playing import ScheduleResult, play
from mlx_chatterbox.doctor.repertoires import small_repertoire
from mlx_chatterbox.doctor.schedules import drawn_schedule
from mlx_chatterbox.models.decoder.native_step import NativeStep
from mlx_chatterbox.runtime import device

from ..errors import ParityError
from ..invariance.engine_faults import engine_fault, engine_faults
from ..invariance.nudging import nudged
from ..taps.replacing import replaced

# Schedules that share a network and its requests, which are computed alone once.
_TOGETHER = 10
_NUDGES = {"none": nullcontext, "rows": lambda: nudged(places=False), "places": nudged}


def schedules(arguments) -> int:
    """Run `python -m parity schedules`; 1 if a row differs from itself alone."""
    if arguments.fault not in ("", *engine_faults()):
        raise ParityError(
            f"{arguments.fault!r} is not a fault; choose from {', '.join(engine_faults())}."
        )
    results: list[ScheduleResult] = []
    seeds = range(arguments.first, arguments.first + arguments.count)
    with ExitStack() as stack:
        if arguments.steps != "c":
            stack.enter_context(replaced(NativeStep, "of", classmethod(lambda cls, t3: None)))
        if arguments.steps == "gpu":
            stack.enter_context(device.pretend("gpu"))
        stack.enter_context(_NUDGES[arguments.nudge]())
        stack.enter_context(engine_fault(arguments.fault))
        for seed in tqdm(seeds, unit="schedule", disable=None, file=sys.stderr):
            if not results or seed % _TOGETHER == 0:
                variant = arguments.variants[seed // _TOGETHER % len(arguments.variants)]
                repertoire = small_repertoire(
                    variant, arguments.precision, seed,
                    seed=seed, mode=arguments.mode, width=arguments.width,
                )  # fmt: skip
            results.append(play(drawn_schedule(seed, repertoire), repertoire))
            if results[-1].problem:
                print(f"{variant}: {results[-1].problem}", flush=True)
    problems = sum(bool(result.problem) for result in results)
    print(
        f"{len(results)} schedules, {sum(len(r.ends) for r in results)} rows, up to "
        f"{max(r.together for r in results)} at a time and {max(r.longest for r in results)} "
        f"positions long, {sum(r.preemptions for r in results)} preemptions, "
        f"{sum(r.logits for r in results)} logits compared: "
        + (f"{problems} schedules failed" if problems else "all equal to the bit")
    )
    return 1 if problems else 0
