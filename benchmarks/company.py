"""Sentences in company: what a step costs with each number of them, and what others cost one.

    python -m benchmarks.company                                   pocket
    python -m benchmarks.company english --json company.json       full size, made-up weights
    python -m benchmarks.company english --precision 8bit --short
    MLX_CHATTERBOX_KERNELS=plain python -m benchmarks.company      steps by MLX on a Linux CPU

Five tables: a step of T3 with one sentence up to sixteen; sentences in one voice and in four; the
engine's modes "fast" and "invariant", where MLX makes the step; what a sentence that joins costs
the others; and S3Gen's sentences in one call and one by one. What is compared takes turns, so that
a machine that slows down slows both; ratios travel between machines, seconds do not.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from statistics import median

from mlx_chatterbox._version import __version__
from mlx_chatterbox.commands.cli import add_verbose
from mlx_chatterbox.runtime.number_options import whole
from mlx_chatterbox.runtime.program import run_program
from mlx_chatterbox.weights.variants import VARIANTS
from parity.progress import say

from .company_model import CompanyModel, open_networks
from .company_parts import (
    SHORT,
    Amount,
    joining,
    modes_apart,
    steps_by_count,
    vocoding,
    voices_apart,
)
from .limits import default_device, use_device
from .prepare import machine_name
from .report import in_units, ratio

PRECISIONS = ("float32", "float16", "bfloat16", "8bit", "4bit")
_PARTS: dict[str, Callable[[CompanyModel, Amount], dict]] = {
    "steps": steps_by_count,
    "voices": voices_apart,
    "modes": modes_apart,
    "joining": joining,
    "vocoding": vocoding,
}


def measure(model: str, precision: str, amount: Amount) -> dict:
    """Measure all five: seconds of each round, and what they depend on.

    Raises:
        BenchmarkError, CheckpointError: no such model; a sentence ended or failed.
    """
    say(f"{model}, {precision}: loading")
    opened = CompanyModel(*open_networks(model, precision))
    result: dict = {
        "about": {
            "model": Path(model).name,
            "precision": precision,
            "machine": machine_name(),
            "device": default_device(),
            "rows_of_sentence": opened.rows_of_sentence,
            "rounds": amount.rounds,
            "versions": {"mlx-chatterbox": __version__, "mlx": version("mlx")},
        }
    }
    for name, part in _PARTS.items():
        say(f"measuring {name}")
        result[name] = part(opened, amount)
    return result


def tables(result: dict) -> str:
    """Tables of the figures, as Markdown."""
    about = result["about"]
    title = f"{about['model']}, {about['precision']}, {about['machine']}, {about['device'].upper()}"
    return "\n\n".join(
        [
            title,
            _steps_table(result["steps"], about["rows_of_sentence"]),
            _compared_table("a step of T3", result["voices"]),
            _modes_table(result["modes"]),
            _joining_lines(result["joining"]),
            _compared_table("S3Gen", result["vocoding"]),
        ]
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows])


def _steps_table(seconds: dict[int, list[float]], rows_of_sentence: int) -> str:
    least = min(seconds)
    rows = []
    for count, taken in seconds.items():
        middle, low, high = ratio(taken, seconds[least])
        rows.append(
            [
                str(count),
                str(count * rows_of_sentence),
                in_units(median(taken)),
                f"{middle:.2f} ({low:.2f} to {high:.2f})",
                in_units(median(taken) / count),
            ]
        )
    head = ["sentences", "product rows", "a step", f"of that with {least}", "a token of a sentence"]
    return _table(head, rows)


def _compared_table(what: str, by_count: dict[int, dict[str, list[float]]]) -> str:
    """Two ways by the number of sentences, and the second one's time over the first one's."""
    ways = list(next(iter(by_count.values())))
    rows = []
    for count, seconds in by_count.items():
        first, second = (seconds[way] for way in ways)
        middle, low, high = ratio(second, first)
        times = in_units(median(first)), in_units(median(second))
        rows.append([str(count), *times, f"{middle:.2f} ({low:.2f} to {high:.2f})"])
    return _table([f"{what}, sentences", *ways, f"{ways[1]} / {ways[0]}"], rows)


def _modes_table(modes: dict[int, dict[str, list[float]]]) -> str:
    if not modes:
        return (
            "modes: a step is made in C here, where both are one; MLX_CHATTERBOX_KERNELS=plain, "
            "another precision or a GPU has MLX make it"
        )
    return _compared_table("a step of T3", modes)


def _joining_lines(seconds: dict[str, list[float]]) -> str:
    usual, alone, longest = (median(seconds[name]) for name in ("step", "prefill", "longest"))
    each = zip(seconds["longest"], seconds["step"], seconds["prefill"], strict=True)
    costs = [(most - step) / prefill for most, step, prefill in each]
    return (
        f"one joins the others of a full step: their longest step takes {in_units(longest)}, a "
        f"usual one {in_units(usual)}, the prefill by itself {in_units(alone)}; so it costs them "
        f"{median(costs):.2f} of its prefill ({min(costs):.2f} to {max(costs):.2f})"
    )


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.company", description=__doc__.split("\n")[0]
    )
    names = ", ".join(name for name in VARIANTS if name != "pocket")
    parser.add_argument(
        "model",
        nargs="?",
        default="pocket",
        help=f"pocket, a converted folder, or {names}: at full size with made-up weights, which "
        "cost what the real ones do (default: %(default)s)",
    )
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="float32",
        help="of the weights; the last two of made-up ones only (default: %(default)s)",
    )
    parser.add_argument(
        "--device", choices=("cpu", "gpu"), help="(default: MLX's default device, on a Mac the GPU)"
    )
    parser.add_argument(
        "--rounds",
        type=whole(1, 10_000),
        metavar="N",
        help=f"counted ones (default: {Amount.rounds})",
    )
    parser.add_argument(
        "--short", action="store_true", help="one round, fewer sentences, one step of the flow"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    add_verbose(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    return run_program(build_parser(), argv, _work, name="")


def _work(arguments: argparse.Namespace) -> int:
    if arguments.device is not None:
        use_device(arguments.device)
    amount = SHORT if arguments.short else Amount()
    if arguments.rounds is not None:
        amount = replace(amount, rounds=arguments.rounds)
    result = measure(arguments.model, arguments.precision, amount)
    print(tables(result))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
