"""Flash's whole at full size: beside English, and beside upstream's own package, in turns.

    python -m benchmarks.flash                                  ours alone
    python -m benchmarks.flash --peers torch --work DIR         keep the weights for the next run
    python -m benchmarks.flash --peers torch --json flash.json --runs 5

6 s of speech (150 tokens) from a text of 60 tokens and a reference of 10 s, which is embedded
too; made-up weights, float32. Upstream's package computes as its later scripts do (temperature
0.2, early decoding 0.5), which are our defaults. All take turns, each in a process of its own,
after a run that is not counted; ratios travel between machines, seconds do not. Ours also say what
a pass through T3's layers takes (32 rows beside English's two), what a block of 16 tokens takes
(beside English's one), and how soon a stream's first sound is there. Ends with a line of JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from mlx_chatterbox.commands.cli import add_verbose
from mlx_chatterbox.runtime.number_options import whole
from mlx_chatterbox.runtime.program import run_program
from parity.progress import say

from .engines import Place, Worker, worker
from .inputs import UTTERANCE_TOKENS
from .limits import default_device
from .prepare import find_interpreters, machine_name, places, write_inputs
from .report import in_units, ratio

PARTS = ("conditioning", "t3", "s3gen", "whole")
FLASH, ENGLISH, TORCH = "ours", "English, ours", "chatterbox-flash, PyTorch"
ROWS = (*PARTS, "pass", "block", "first_sound")
_TITLES = {
    "t3": "T3",
    "s3gen": "S3Gen",
    "pass": "a pass of T3",
    "block": "a block of T3; a token",
    "first_sound": "a stream's first sound",
}

# Of each column, for each part the seconds of every run.
Times = dict[str, dict[str, list[float]]]


def build_parser() -> argparse.ArgumentParser:
    """Make the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.flash",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--peers",
        choices=("torch",),
        nargs="*",
        default=[],
        help="torch: upstream's package too, in the environment of `python -m parity setup`",
    )
    parser.add_argument(
        "--runs", type=whole(1, 100), default=3, metavar="N", help="counted runs (default: 3)"
    )
    parser.add_argument(
        "--device",
        choices=("cpu", "gpu"),
        help="of all (default: MLX's default device, on a Mac the GPU)",
    )
    parser.add_argument("--json", type=Path, metavar="F", help="write every run's seconds here")
    parser.add_argument(
        "--work", type=Path, metavar="DIR", help="keep weights here (default: a temporary folder)"
    )
    parser.add_argument(
        "--reference-python", type=Path, metavar="PATH", help="interpreter that has PyTorch's peer"
    )
    add_verbose(parser)
    return parser


def measure(workers: Mapping[str, Worker], runs: int) -> Times:
    """Time utterances in turns, after one of each that is not counted."""
    times: Times = {name: {} for name in workers}
    for turn in range(runs + 1):
        for name, one in workers.items():
            seconds = one.run("utterance", 10)
            if "first_sound" in one.groups:
                seconds |= one.run("first_sound", 10)
            if turn:
                for part, value in seconds.items():
                    times[name].setdefault(part, []).append(value)
        say(f"turn {turn} of {runs}")
    return times


def table(times: Times) -> str:
    """Medians of each part, and the ratios of Flash to each other column."""
    others = [name for name in times if name != FLASH]
    head = ["", "Flash, ours", *others, *(f"Flash / {name}" for name in others)]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for part in ROWS:
        own = times[FLASH].get(part)
        if own is None:
            continue
        cells = [_TITLES.get(part, part), in_units(median(own))]
        theirs = [times[name].get(part) for name in others]
        cells += ["" if one is None else in_units(median(one)) for one in theirs]
        cells += ["" if one is None else _apart(own, one) for one in theirs]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _apart(ours: list[float], theirs: list[float]) -> str:
    """The ratio of the medians, and the least and the most of paired runs."""
    return "{:.2f} ({:.2f} to {:.2f})".format(*ratio(ours, theirs))


def note(times: Times) -> str:
    """The first sound of Flash's stream in units of a block."""
    first, block = (median(times[FLASH][name]) for name in ("first_sound", "block"))
    return f"A stream's first sound comes after the time of {first / block:.1f} blocks."


def run(arguments: argparse.Namespace) -> int:
    """Time what was asked for, and print it; returns the exit code.

    Raises:
        BenchmarkError: an engine failed.
    """
    arguments.weights = arguments.mlx_audio_python = None
    arguments.device = arguments.device or default_device()
    with ExitStack() as stack:
        work = arguments.work
        if work is None:
            temporary = tempfile.TemporaryDirectory(prefix="mlx-chatterbox-benchmarks-")
            work = Path(stack.enter_context(temporary))
        columns = _columns(arguments, work)
        inputs = write_inputs(work)
        workers = {
            name: stack.enter_context(worker(place, inputs, variant))
            for name, (place, variant) in columns.items()
        }
        times = measure(workers, arguments.runs)
    say(f"{machine_name()}, {arguments.device}: {UTTERANCE_TOKENS} tokens, {arguments.runs} runs")
    print(f"{table(times)}\n\n{note(times)}")
    medians = {
        name: {part: median(all_) for part, all_ in own.items()} for name, own in times.items()
    }
    document = {"machine": machine_name(), "runs": times, "medians": medians}
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(medians))
    return 0


def _columns(arguments: argparse.Namespace, work: Path) -> dict[str, tuple[Place, str]]:
    """Each column's engine and variant; a peer without an environment is left out and said."""
    interpreters = find_interpreters(arguments)
    flash = places(arguments, interpreters, work, "flash")
    ours = {"ours": interpreters["ours"]}
    english = places(arguments, ours, work, "english")
    columns = {FLASH: (flash["ours"], "flash"), ENGLISH: (english["ours"], "english")}
    if "torch" in flash:
        columns[TORCH] = (flash["torch"], "flash")
    return columns


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        The exit code.
    """
    return run_program(build_parser(), argv, run, name="")


if __name__ == "__main__":
    sys.exit(main())
