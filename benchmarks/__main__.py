"""`python -m benchmarks`: times of every stage of speech, ours and the peers' in one run."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from .stages import PEERS, STAGES

DESCRIPTION = """\
Times the stages of speech, ours beside mlx-audio and upstream's PyTorch, in one run: the same
made-up weights and the same inputs (a 10 s reference, 60 text tokens, 100 speech tokens = 4 s of
speech), each engine in a process of its own, in turns A B A B, after a run that is not counted.
Prints medians and ratios, how much of the machine's memory bandwidth and matrix products each
reaches, and last one line of JSON, {"stages": {NAME: {"ours": seconds, "mlx-audio": seconds or
null, "torch": seconds or null}}, ...}. Ratios travel between machines, seconds do not."""

EXAMPLES = """\
stages:
{stages}

examples:
  python -m benchmarks                                          ours alone
  python -m benchmarks --peers mlx-audio,torch --plot speed.png  everything
  python -m benchmarks --peers torch --stages s3gen --runs 5     one stage
  python -m benchmarks --peers torch --work DIR                  keep the weights for the next run
  python -m benchmarks --device cpu                              a Mac's processor, not its GPU

A peer's environment is made when it is first needed (PyTorch's is `python -m parity setup`'s). On
two cores all stages beside PyTorch take about ten minutes with two runs; mlx-audio, with 18 s for
each step of the flow, makes it far longer. The first run makes weights too, 14 GB with mlx-audio's
copy and Nano, in two minutes more.

exit codes: 0 done (a peer that failed is reported and left out), 1 cannot be done, 2 wrong use"""


def build_parser() -> argparse.ArgumentParser:
    """Make the command line; nothing heavy is imported for --help."""
    width = max(map(len, STAGES))
    stages = "\n".join(f"  {name:{width}}  {stage.title}" for name, stage in STAGES.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=DESCRIPTION,
        epilog=EXAMPLES.format(stages=stages),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--peers",
        type=_peers,
        default=[],
        metavar="NAMES",
        help=f"peers to compare with, of {','.join(PEERS)} (default: none)",
    )
    parser.add_argument(
        "--stages",
        type=_stages,
        default=list(STAGES),
        metavar="NAMES",
        help="stages to time, separated by commas (default: all)",
    )
    parser.add_argument(
        "--runs", type=_positive, default=3, metavar="N", help="counted runs (default: 3)"
    )
    parser.add_argument(
        "--steps", type=_positive, default=10, metavar="N", help="of the flow (default: 10)"
    )
    parser.add_argument(
        "--device",
        choices=("cpu", "gpu"),
        help="device of all engines; gpu: MLX's (Metal or CUDA), and PyTorch's on the same machine "
        "(default: MLX's default device, on a Mac the GPU)",
    )
    parser.add_argument("--json", type=Path, metavar="F", help="write every run's seconds here")
    parser.add_argument("--plot", type=Path, metavar="F", help="draw a PNG here (extra `bench`)")
    parser.add_argument(
        "--weights",
        type=Path,
        metavar="FOLDER",
        help="upstream's English files instead of made-up ones",
    )
    parser.add_argument(
        "--work",
        type=Path,
        metavar="DIR",
        help="keep weights here, as `python -m parity run --work` does (default: a temporary "
        "folder)",
    )
    parser.add_argument(
        "--reference-python", type=Path, metavar="PATH", help="interpreter that has PyTorch's peer"
    )
    parser.add_argument(
        "--mlx-audio-python", type=Path, metavar="PATH", help="interpreter that has mlx-audio"
    )
    parser.add_argument("--verbose", action="store_true", help="show tracebacks of errors")
    return parser


def _names(text: str, choices: Sequence[str], what: str) -> list[str]:
    """Pick those of `choices` that a list with commas names, in the order of `choices`."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if unknown := [name for name in names if name not in choices]:
        raise argparse.ArgumentTypeError(
            f"unknown {what} {', '.join(unknown)}; choose from {', '.join(choices)}"
        )
    return [name for name in choices if name in names]


def _peers(text: str) -> list[str]:
    return _names(text, PEERS, "peer")


def _stages(text: str) -> list[str]:
    if names := _names(text, list(STAGES), "stage"):
        return names
    raise argparse.ArgumentTypeError("name a stage, or leave --stages out for all")


def _positive(text: str) -> int:
    from mlx_chatterbox.runtime.number_options import whole  # which --help is spared

    return whole(1, 10_000)(text)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        The exit code.
    """
    # Not at the top: --help needs no MLX.
    from mlx_chatterbox.runtime.program import run_program

    parser = build_parser()

    def work(arguments: argparse.Namespace) -> int:
        _check(arguments, parser)
        from .run import run

        return run(arguments)

    return run_program(parser, argv, work, name="")


def _check(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Refuse what can be known to be wrong before minutes of work."""
    from .plot import require_matplotlib

    for name in ("json", "plot"):
        path = getattr(arguments, name)
        if path is not None and not path.absolute().parent.is_dir():
            parser.error(f"--{name} {path}: the folder is not there")
    if arguments.weights is not None:
        if not arguments.weights.is_dir():
            parser.error(f"--weights {arguments.weights}: no such folder")
        if any(STAGES[name].variant != "english" for name in arguments.stages):
            parser.error("--weights is the English model's: name --stages without nano_utterance")
    if arguments.plot is not None:
        require_matplotlib()


if __name__ == "__main__":
    sys.exit(main())
