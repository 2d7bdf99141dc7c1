"""`python -m benchmarks`: time the stages of speech, ours beside PyTorch's, in one run.

The engines run in processes of their own and take turns, A B A B, so that a machine that slows
down slows both; what is compared are medians of one run, and ratios travel further than seconds.
The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

from .inputs import DECODED_TOKENS, make_inputs

STAGES = ("conditioning", "t3_prefill", "t3_token", "flow", "vocoder", "s3gen", "nano_utterance")
# The model that a stage is timed on, English if not named here.
VARIANTS = {"nano_utterance": "nano"}
NAMES = {"mlx": "ours", "torch": "torch"}
# What a stage is measured by: T3's time per token is the difference of two runs.
TIMED = {"t3_prefill": ("t3_first",), "t3_token": ("t3_first", "t3_many")}

EXAMPLES = """\
examples:
  python -m benchmarks --peers torch            all stages beside upstream's PyTorch
  python -m benchmarks --stages s3gen --runs 5  ours alone
  python -m benchmarks --peers torch --work DIR keep the fabricated weights for the next run
"""


class Engine:
    """A worker process."""

    def __init__(self, process: subprocess.Popen):
        self._process = process
        self._answer()

    def time(self, stage: str) -> float:
        """Seconds that a stage takes."""
        self._process.stdin.write(json.dumps({"stage": stage}) + "\n")
        self._process.stdin.flush()
        return self._answer()["seconds"]

    def _answer(self) -> dict:
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"a worker failed: {' '.join(map(str, self._process.args))}")
        return json.loads(line)


@contextmanager
def engine(
    name: str, python: str, folder: Path, inputs: Path, steps: int, variant: str
) -> Iterator[Engine]:
    """Start a worker and end it."""
    from parity.reference import module_command

    worker = [name, str(folder), str(inputs), "--steps", str(steps), "--variant", variant]
    command = module_command(python, "benchmarks.worker", worker, packages=("parity", "benchmarks"))
    environment = os.environ | {"TQDM_DISABLE": "1", "PYTHONWARNINGS": "ignore"}
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL if name == "torch" else None,
        text=True,
        env=environment,
    )
    try:
        yield Engine(process)
    finally:
        process.stdin.close()
        process.wait()


def measure(engines: dict[str, Engine], stages: list[str], runs: int) -> dict:
    """Stage -> engine -> seconds of each counted run; one more before them is not counted."""
    seconds = {stage: {name: [] for name in engines} for stage in stages}
    for stage in stages:
        for run in range(runs + 1):
            for name, worker in engines.items():
                parts = [worker.time(part) for part in TIMED.get(stage, (stage,))]
                taken = parts[0] if len(parts) == 1 else (parts[1] - parts[0]) / DECODED_TOKENS
                if run > 0:
                    seconds[stage][name].append(taken)
            print(f"  {stage}: run {run} of {runs}", file=sys.stderr, flush=True)
    return seconds


def table(seconds: dict) -> str:
    """Medians and ratios, as Markdown."""
    peers = [name for name in next(iter(seconds.values())) if name != "mlx"]
    head = ["stage", "ours"] + [text for peer in peers for text in (peer, f"ours / {peer}")]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for stage, by_engine in seconds.items():
        ours = median(by_engine["mlx"])
        cells = [stage, f"{ours:.3f} s"]
        for peer in peers:
            theirs = median(by_engine[peer])
            ratios = [a / b for a, b in zip(by_engine["mlx"], by_engine[peer], strict=True)]
            spread = f" ({min(ratios):.2f} to {max(ratios):.2f})"
            cells += [f"{theirs:.3f} s", f"{ours / theirs:.2f}{spread}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def summary(seconds: dict, all_peers: tuple[str, ...] = ("torch",)) -> dict:
    """The last line's object: medians in seconds, null where an engine did not run."""
    stages = {}
    for stage, by_engine in seconds.items():
        row = dict.fromkeys(("ours", *all_peers))
        row |= {NAMES[name]: median(values) for name, values in by_engine.items()}
        stages[stage] = row
    return {"stages": stages}


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__.split("\n\n")[0],
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    arguments = {
        "--peers": {"default": "", "help": "torch, or nothing"},
        "--stages": {"default": ",".join(STAGES), "help": f"of {', '.join(STAGES)}"},
        "--runs": {"type": int, "default": 3, "help": "counted runs (default: 3)"},
        "--steps": {"type": int, "default": 10, "help": "steps of the flow (default: 10)"},
        "--weights": {"type": Path, "help": "upstream's folder instead of a fabricated one"},
        "--work": {"type": Path, "help": "keep weights here (default: a temporary folder)"},
        "--reference-python": {"help": "interpreter that has PyTorch and chatterbox-tts"},
        "--json": {"type": Path, "help": "write every run's seconds here"},
    }
    for flag, settings in arguments.items():
        parser.add_argument(flag, **settings)
    return parser


def main(argv: list[str] | None = None) -> int:
    parser = build_parser()
    arguments = parser.parse_args(argv)
    stages = arguments.stages.split(",")
    peers = [peer for peer in arguments.peers.split(",") if peer]
    if unknown := [name for name in stages if name not in STAGES]:
        parser.error(f"unknown stage(s): {', '.join(unknown)}")
    if unknown := [name for name in peers if name not in NAMES or name == "mlx"]:
        parser.error(f"unknown peer(s): {', '.join(unknown)}")

    from parity.dumps import write_dump
    from parity.reference import find_interpreter
    from parity.run import Settings, converted_weights, upstream_weights

    seconds = {}
    with ExitStack() as stack:
        work = arguments.work
        if work is None:
            work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        python = find_interpreter(arguments.reference_python) if "torch" in peers else ""
        for variant in ("english", "nano"):
            wanted = [stage for stage in stages if VARIANTS.get(stage, "english") == variant]
            if not wanted:
                continue
            place = work if variant == "english" else work / variant
            place.mkdir(parents=True, exist_ok=True)
            settings = Settings(variant=variant, weights=arguments.weights, work=place)
            upstream = upstream_weights(place, settings)
            folders = {"mlx": converted_weights(place, upstream, settings), "torch": upstream}
            inputs = write_dump(place / "benchmark-inputs.safetensors", make_inputs())
            with ExitStack() as running:
                engines = {}
                for name in ("mlx", *peers):
                    interpreter = sys.executable if name == "mlx" else python
                    engines[name] = running.enter_context(
                        engine(name, interpreter, folders[name], inputs, arguments.steps, variant)
                    )
                seconds |= measure(engines, wanted, arguments.runs)
    print(table(seconds))
    if arguments.json:
        arguments.json.write_text(json.dumps(seconds, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(summary(seconds)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
