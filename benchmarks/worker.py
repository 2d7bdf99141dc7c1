"""An engine in a process of its own: reads what to time, answers with seconds.

Protocol: a line of JSON each way. First comes `{"ready": [GROUP, ...]}`, what this engine can do.
Then `{"run": GROUP, "steps": N}` is answered by `{"seconds": {STAGE: S, ...}}`, `{"memory": true}`
by `{"memory": BYTES}`, the most that was taken so far, and `{"logits": FILE}` by a file of T3's
first logits. What fails is answered by `{"error": MESSAGE}`. The end of the input ends the worker.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from importlib import import_module
from pathlib import Path

import numpy as np

from parity.dumps import read_dump

from .stages import MODULES


def peak_resident() -> int:
    """Peak resident memory of this process, in bytes.

    On Linux not from `getrusage`, whose figure a process inherits from the one that started it.
    """
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else 1024 * peak
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return 1024 * int(line.split()[1])


def answer(request: dict, engine, stages: dict) -> dict:
    """Answer one line of the protocol."""
    if "memory" in request:
        return {"memory": engine.device_memory() or peak_resident()}
    if "logits" in request:
        np.save(request["logits"], stages["logits"](0))
        return {"seconds": {}}
    group = request["run"]
    started = time.perf_counter()
    seconds = stages[group](request["steps"])
    return {"seconds": seconds or {group: time.perf_counter() - started}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engine", choices=list(MODULES))
    parser.add_argument("folder", type=Path)
    parser.add_argument("inputs", type=Path)
    parser.add_argument("--variant", default="english")
    parser.add_argument("--device", required=True)
    arguments = parser.parse_args()

    # Libraries print what they like; the answers keep the real standard output for themselves.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def reply(message: dict) -> None:
        print(json.dumps(message), file=answers, flush=True)

    try:
        engine = import_module(f".{MODULES[arguments.engine]}", __package__)
        engine.use_device(arguments.device)
        inputs = read_dump(arguments.inputs)
        stages = engine.stages(arguments.folder, inputs, arguments.variant)
    except Exception as error:
        reply({"error": f"{type(error).__name__}: {error}"})
        return
    reply({"ready": [name for name in stages if name != "logits"]})
    for line in sys.stdin:
        try:
            reply(answer(json.loads(line), engine, stages))
        except Exception as error:
            reply({"error": f"{type(error).__name__}: {error}"})


if __name__ == "__main__":
    main()
