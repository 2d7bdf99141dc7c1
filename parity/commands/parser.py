"""The command line of `python -m parity`; nothing heavy is imported for --help."""

from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path

from .. import COMMAND
from . import layer_parsers, options, report_parsers, schedule_parsers

DESCRIPTION = """\
Compares every stage of our networks with a reference, on the same weights and the same inputs.

A dump is a safetensors file of tensors named stage/tensor. Each stage reads its inputs from a dump
and never another stage's result, so that an error shows where it is made."""

EXAMPLES = f"""\
examples:
  {COMMAND} setup                        once: an environment for upstream's PyTorch package
  {COMMAND} run --variant english        fabricate weights, convert, compare everything
  {COMMAND} run --weights ResembleAI/chatterbox    the same on real weights; docs/parity.md
  {COMMAND} run --variant chattts        ChatTTS: against NumPy and stored tensors of its modules
  {COMMAND} report WORK/english          a page to look at, from a run that was kept
  {COMMAND} bisect --small               the first layer that differs, if one does
  {COMMAND} mutate                       plant faults, see that each is found
  {COMMAND} schedules                    rows of an engine, each compared with itself alone
by hand, one step at a time:
  {COMMAND} fabricate upstream           made-up weights in upstream's files, 3.2 GB
  {COMMAND} fabricate chattts --variant chattts       ChatTTS's, 1.1 GB; --small: 0.2 GB
  {COMMAND.replace("parity", "convert")} upstream checkpoint
  {COMMAND} inputs in.safetensors
  {COMMAND} dump --backend torch --checkpoint upstream --inputs in.safetensors \\
                        --output torch.safetensors
  {COMMAND} dump --checkpoint checkpoint --inputs in.safetensors --output ours.safetensors
  {COMMAND} compare torch.safetensors ours.safetensors --html report.html

exit codes: 0 everything holds, 1 something does not or cannot be done, 2 wrong use"""


def parser() -> argparse.ArgumentParser:
    """Make the command line; nothing heavy is imported for --help."""
    result = argparse.ArgumentParser(
        prog=COMMAND,
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = result.add_subparsers(dest="command", required=True, metavar="COMMAND")
    report_parsers.add_run(commands)
    report_parsers.add_compare(commands)
    report_parsers.add_report(commands)
    report_parsers.add_baseline(commands)
    report_parsers.add_peer(commands)
    _add_dump(commands)
    _add_makers(commands)
    layer_parsers.add_bisect(commands)
    layer_parsers.add_mutate(commands)
    schedule_parsers.add_schedules(commands)
    for command in commands.choices.values():
        command.add_argument("--verbose", action="store_true", help="show tracebacks of errors")
    return result


def perform(arguments: argparse.Namespace) -> int:
    """Do what the command line asks for; returns the exit code.

    The command's module is imported here, when its command has been chosen, since it needs MLX.
    """
    module, _, function = arguments.action.rpartition(".")
    return getattr(import_module(f".{module}", __package__), function)(arguments)


def _add_dump(commands) -> None:
    dump = commands.add_parser(
        "dump",
        help="compute every stage whose inputs are in a dump",
        description="Computes every stage whose inputs are in IN and writes the outputs to OUT. "
        "The names are those of parity/stages.py; what is not used is reported.",
    )
    dump.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FOLDER",
        help="converted checkpoint; for --backend torch upstream's files, or a checkpoint "
        "converted from a folder that is still there; not needed for numpy. Of ChatTTS a converted "
        "checkpoint or its own files (asset/...), also for numpy",
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
    options.stages(dump)
    dump.set_defaults(action="dump.dump")


def _add_makers(commands) -> None:
    fabricate = commands.add_parser(
        "fabricate",
        help="write made-up weights in upstream's files",
        description="Fills upstream's files from a seeded generator; activations are of order one.",
    )
    fabricate.add_argument("output", metavar="OUTPUT", type=Path, help="folder to make")
    options.variant(fabricate)
    options.seed(fabricate)
    fabricate.add_argument(
        "--small",
        action="store_true",
        help="few layers and narrow ones, to try a command in seconds; vocabularies and rates are "
        "the published ones",
    )
    fabricate.add_argument(
        "--weight-norm",
        choices=("parametrizations", "g_v"),
        default="parametrizations",
        help="PyTorch's spelling of weight norm (default: %(default)s)",
    )
    fabricate.add_argument(
        "--filter-buffers",
        action="store_true",
        help="include the tokenizer's mel filters and window",
    )
    fabricate.set_defaults(action="makers.fabricated")

    inputs = commands.add_parser("inputs", help="write a dump with inputs for every stage")
    inputs.add_argument("output", metavar="OUT", type=Path)
    options.variant(inputs)
    options.seed(inputs)
    options.audio(inputs)
    inputs.set_defaults(action="makers.inputs")

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
    setup.set_defaults(action="makers.setup")
