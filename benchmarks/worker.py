"""One engine in a process of its own: reads stage names, answers with seconds.

Protocol: a line of JSON each way, `{"stage": NAME}` in and `{"seconds": S}` out, after a first
`{"ready": true}`; the end of the input ends the worker.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from importlib import import_module
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engine", choices=["mlx", "torch"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("inputs", type=Path)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--variant", default="english")
    arguments = parser.parse_args()

    # Libraries print what they like; the answers keep the real standard output for themselves.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    from parity.dumps import read_dump

    inputs = read_dump(arguments.inputs)
    engine = import_module(f".engine_{arguments.engine}", __package__)
    stages = engine.stages(arguments.folder, inputs, arguments.steps, arguments.variant)
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        work = stages[json.loads(line)["stage"]]
        started = time.perf_counter()
        work()
        seconds = time.perf_counter() - started
        print(json.dumps({"seconds": seconds}), file=answers, flush=True)


if __name__ == "__main__":
    main()
