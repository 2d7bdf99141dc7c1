"""`python -m parity`: is what runs here what upstream's authors trained?"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mlx_chatterbox.program import run_program

from .commands import options
from .commands import report as report_commands
from .commands.layers import add_bisect, add_mutate, add_stages

DESCRIPTION = """\
Compares every stage of our networks with a reference, on the same weights and the same inputs.

A dump is a safetensors file of tensors named stage/tensor. Each stage reads its inputs from a dump
and never another stage's result, so that an error shows where it is made."""

EXAMPLES = """\
examples:
  python -m parity setup                        once: an environment for upstream's PyTorch package
  python -m parity run --variant english        fabricate weights, convert, compare everything
  python -m parity run --weights ResembleAI/chatterbox    the same on real weights; docs/parity.md
  python -m parity report WORK/english          a page to look at, from a run that was kept
  python -m parity bisect --small               the first layer that differs, if one does
  python -m parity mutate                       are planted faults found?
by hand, one step at a time:
  python -m parity fabricate upstream           made-up weights in upstream's files, 3.2 GB
  python -m convert upstream checkpoint
  python -m parity inputs in.safetensors
  python -m parity dump --backend torch --checkpoint upstream --inputs in.safetensors \\
                        --output torch.safetensors
  python -m parity dump --checkpoint checkpoint --inputs in.safetensors --output ours.safetensors
  python -m parity compare torch.safetensors ours.safetensors --html report.html

exit codes: 0 everything holds, 1 something does not or cannot be done, 2 wrong use"""


def parser() -> argparse.ArgumentParser:
    """The command line; nothing heavy is imported for --help."""
    result = argparse.ArgumentParser(
        prog="python -m parity",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = result.add_subparsers(dest="command", required=True, metavar="COMMAND")
    report_commands.add_run(commands)
    report_commands.add_compare(commands)
    report_commands.add_report(commands)
    report_commands.add_baseline(commands)
    report_commands.add_peer(commands)
    _add_dump(commands)
    _add_makers(commands)
    add_bisect(commands, argparse.RawDescriptionHelpFormatter)
    add_mutate(commands)
    for command in commands.choices.values():
        command.add_argument("--verbose", action="store_true", help="show tracebacks of errors")
    return result


def _add_dump(commands) -> None:
    dump = commands.add_parser(
        "dump",
        help="compute every stage whose inputs are in a dump",
        description="Computes every stage whose inputs are in IN and writes the outputs to OUT.",
    )
    dump.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FOLDER",
        help="converted checkpoint; for --backend torch upstream's files, or a checkpoint "
        "converted from a folder that is still there; not needed for numpy",
    )
    dump.add_argument(
        "--variant", type=options.known_variant, help="which model in a folder of upstream's files"
    )
    options.t3_file(dump)
    dump.add_argument("--inputs", type=Path, required=True, metavar="IN")
    dump.add_argument("--output", type=Path, required=True, metavar="OUT")
    dump.add_argument("--backend", choices=("mlx", "torch", "numpy"), default="mlx")
    dump.add_argument("--reference-python", type=Path, metavar="PATH", help="as in `run`")
    dump.add_argument(
        "--taps",
        action="store_true",
        help="write every layer's inputs and outputs, for `bisect`, instead of the stages' outputs",
    )
    add_stages(dump)
    dump.set_defaults(function=_dump)


def _add_makers(commands) -> None:
    fabricate = commands.add_parser(
        "fabricate",
        help="write made-up weights in upstream's files",
        description="Fills upstream's files by a seeded generator, activations of order one.",
    )
    fabricate.add_argument("output", metavar="OUTPUT", type=Path, help="folder to make")
    options.variant(fabricate)
    options.seed(fabricate)
    fabricate.add_argument(
        "--weight-norm",
        choices=("parametrizations", "g_v"),
        default="parametrizations",
        help="which of PyTorch's two spellings (default: %(default)s)",
    )
    fabricate.add_argument(
        "--filter-buffers", action="store_true", help="with the tokenizer's mel filters and window"
    )
    fabricate.set_defaults(function=_fabricate)

    inputs = commands.add_parser("inputs", help="write a dump with inputs for every stage")
    inputs.add_argument("output", metavar="OUT", type=Path)
    options.variant(inputs)
    options.seed(inputs)
    options.audio(inputs)
    inputs.set_defaults(function=_inputs)

    setup = commands.add_parser(
        "setup",
        help="make a virtual environment for upstream's PyTorch package",
        description="Makes a virtual environment with PyTorch and upstream's package, printing "
        "each step. On Linux without a GPU, https://download.pytorch.org/whl/cpu is a smaller "
        "PyTorch than the usual index has.",
    )
    setup.add_argument(
        "--venv", type=Path, metavar="DIR", help="where (default: your cache folder)"
    )
    setup.add_argument("--torch-index", metavar="URL", help="package index for PyTorch itself")
    setup.set_defaults(function=_setup)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        0 if everything asked for holds or is done, 1 if not. Wrong use exits with 2.
    """
    return run_program(parser(), argv, lambda arguments: arguments.function(arguments), name="")


def _dump(arguments) -> int:
    from mlx_chatterbox.apart import check_apart

    from .commands.dump import dump

    if arguments.checkpoint is None and arguments.backend != "numpy":
        parser().error(f"dump --backend {arguments.backend} needs --checkpoint FOLDER")
    if arguments.taps and arguments.backend == "numpy":
        parser().error("dump --taps is of networks: --backend mlx or torch")
    options.check_folders(arguments.output)
    check_apart(
        [(f"--output {arguments.output}", arguments.output)],
        [(f"--inputs {arguments.inputs}", arguments.inputs)],
    )
    dump(arguments)
    return 0


def _fabricate(arguments) -> int:
    from .errors import ParityError
    from .fabricate.checkpoint import STAMP, fabricate
    from .progress import phase

    folder = arguments.output
    if folder.is_file() or (
        folder.is_dir() and any(folder.iterdir()) and not (folder / STAMP).is_file()
    ):
        raise ParityError(f"{folder} is there already and was not fabricated; choose another name.")
    with phase("fabricate weights") as progress:
        fabricate(
            folder,
            variant=arguments.variant,
            seed=arguments.seed,
            weight_norm=arguments.weight_norm,
            filter_buffers=arguments.filter_buffers,
            progress=progress,
        )
    return 0


def _inputs(arguments) -> int:
    from mlx_chatterbox.variants import variant_named

    from .dumps import write_dump
    from .inputs.make import inputs_with_pipeline

    config = variant_named(arguments.variant).default_config()
    write_dump(arguments.output, inputs_with_pipeline(config, arguments.seed, arguments.audio))
    return 0


def _setup(arguments) -> int:
    from .upstream.process import default_venv
    from .upstream.setup import make_environment

    python = make_environment(arguments.venv or default_venv(), arguments.torch_index)
    print(f"ready: {python}")
    if arguments.venv is not None:
        print(f"use it with --reference-python {python}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
