"""One run of `python -m benchmarks`: interpreters, weights, measurements, and what is written."""

from __future__ import annotations

import argparse
import json
import tempfile
from contextlib import ExitStack
from pathlib import Path

from mlx_chatterbox.models.config import ModelConfig

from .engines import in_new_process
from .limits import default_device
from .measure import Measured, measure_stages, measure_starts
from .plot import draw
from .prepare import find_interpreters, metadata, places, write_inputs
from .report import full, shares_text, summary, table, work_of
from .stages import STAGES


def run(arguments: argparse.Namespace) -> int:
    """Time what was asked for, print it, and write the files asked for; returns the exit code."""
    if arguments.device is None:
        arguments.device = default_device()
    measured = Measured(about=metadata(arguments))
    with ExitStack() as stack:
        work = arguments.work
        if work is None:
            temporary = tempfile.TemporaryDirectory(prefix="mlx-chatterbox-benchmarks-")
            work = Path(stack.enter_context(temporary))
        english = _measure(arguments, measured, work)
        amounts = {} if english is None else work_of(ModelConfig.load(english), arguments.steps)
    print(table(measured, arguments.peers))
    if text := shares_text(measured, amounts):
        print(text)
    if arguments.json is not None:
        text = json.dumps(full(measured, amounts), indent=2)
        arguments.json.write_text(text + "\n", encoding="utf-8")
    if arguments.plot is not None:
        draw(measured, arguments.plot, measured.about["title"])
    print(json.dumps(summary(measured)))
    return 0


def _measure(arguments: argparse.Namespace, measured, work: Path) -> Path | None:
    """Time all that was asked for; returns the English model's folder, if it was needed."""
    interpreters = find_interpreters(arguments)
    inputs = write_inputs(work)
    english = None
    for variant in ("english", "nano"):
        wanted = [name for name in arguments.stages if STAGES[name].variant == variant]
        if not wanted:
            continue
        engines = places(arguments, interpreters, work, variant)
        if variant == "english":
            english = engines["ours"].folder
            measured.limits = in_new_process(engines["ours"], "limits")
        measure_starts(measured, engines, wanted, arguments.runs)
        if any(not STAGES[name].in_new_process for name in wanted):
            measure_stages(
                measured, engines, wanted, arguments.runs, arguments.steps, inputs, variant
            )
    return english
