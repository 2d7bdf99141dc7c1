"""`python -m parity`: is what runs here what upstream's authors trained?"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from .layer_commands import add_bisect, add_mutate, add_stages

DESCRIPTION = """\
Compares every stage of our networks with a reference, on the same weights and the same inputs.

A dump is a safetensors file of tensors named stage/tensor. Each stage reads its inputs from a dump
and never another stage's result, so that an error shows where it is made."""

EXAMPLES = """\
examples:
  python -m parity setup                        once: an environment for upstream's PyTorch package
  python -m parity run --variant english        fabricate weights, convert, compare everything
  python -m parity run --weights FOLDER         the same on real weights in upstream's files
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
    _add_run(commands)
    _add_compare(commands)
    _add_dump(commands)
    _add_makers(commands)
    add_bisect(commands, argparse.RawDescriptionHelpFormatter)
    add_mutate(commands)
    return result


def _add_run(commands) -> None:
    run = commands.add_parser(
        "run",
        help="everything at once: weights, conversion, both references, ours, the verdict",
        description="Compares all stages at full size. About three minutes on two cores.",
    )
    _variant(run)
    _t3_file(run)
    run.add_argument(
        "--weights", type=Path, metavar="FOLDER", help="upstream's files; fabricated without it"
    )
    run.add_argument(
        "--work",
        type=Path,
        metavar="DIR",
        help="keep weights (4 to 7 GB a variant) and dumps here, in a folder for each variant, and "
        "reuse them; a temporary folder without it",
    )
    _seed(run)
    _audio(run)
    run.add_argument(
        "--reference-python",
        type=Path,
        metavar="PATH",
        help="interpreter with PyTorch and chatterbox-tts (default: this one if it has them, "
        "else the one of `python -m parity setup`)",
    )
    _precision(
        run, nargs="+", default=["float32"], what="of our networks; each is held to its own bounds"
    )
    _reports(run)
    run.set_defaults(function=_run)


def _add_compare(commands) -> None:
    compare = commands.add_parser(
        "compare",
        help="hold one dump against another",
        description="Holds OUT against REFERENCE: every output of a stage that REFERENCE has must "
        "be in OUT, of the same shape and dtype, finite, and within the stage's bound.",
    )
    compare.add_argument("reference", metavar="REFERENCE", type=Path)
    compare.add_argument("out", metavar="OUT", type=Path)
    _precision(compare, default="float32", what="of OUT: which bounds hold")
    _reports(compare)
    compare.set_defaults(function=_compare)


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
        "--variant", type=_known_variant, help="which model in a folder of upstream's files"
    )
    _t3_file(dump)
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
    _variant(fabricate)
    _seed(fabricate)
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
    _variant(inputs)
    _seed(inputs)
    _audio(inputs)
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


def _variant(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--variant", type=_known_variant, default="english", help="default: %(default)s"
    )


def _t3_file(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--t3", dest="t3_file", metavar="FILE", help="T3's file, if it has a name of its own"
    )


def _precision(command: argparse.ArgumentParser, what: str, **how) -> None:
    names = ("float32", "float16", "bfloat16", "8bit", "4bit")
    command.add_argument("--precision", choices=names, help=f"{what} (default: float32)", **how)


def _seed(command: argparse.ArgumentParser) -> None:
    command.add_argument("--seed", type=_natural, default=0, help="of all that is made up")


def _audio(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--audio", type=Path, metavar="WAV", help="reference recording; synthetic without it"
    )


def _reports(command: argparse.ArgumentParser) -> None:
    for name, what in (
        ("json", "for programs"),
        ("markdown", "a table for a summary"),
        ("html", "a page to look at"),
        ("svg", "errors and bounds as a picture"),
    ):
        command.add_argument(f"--{name}", type=Path, metavar="F", help=f"write {name} too: {what}")


def _known_variant(text: str) -> str:
    from mlx_chatterbox.variants import VARIANTS

    if text not in VARIANTS:
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(VARIANTS)}")
    return text


def _natural(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError("must be 0 or more")
    return value


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        0 if everything asked for holds or is done, 1 if not. Wrong use exits with 2.
    """
    arguments = parser().parse_args(argv)
    from mlx_chatterbox.errors import ChatterboxError

    from .errors import ParityError

    try:
        return arguments.function(arguments)
    except (ParityError, ChatterboxError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted.", file=sys.stderr)
        return 1


def _run(arguments) -> int:
    from .run import Settings, run

    _check_folders(arguments.json, arguments.markdown, arguments.html, arguments.svg)
    names = ("variant", "t3_file", "weights", "work", "seed", "audio", "reference_python")
    values = {name: getattr(arguments, name) for name in names}
    result = run(Settings(**values, precisions=tuple(arguments.precision)))
    return _report(result.comparisons, arguments, result.about)


def _compare(arguments) -> int:
    from .compare import compare
    from .dumps import read_dump

    names = (arguments.out.name, arguments.reference.name)
    dumps = (read_dump(arguments.reference), read_dump(arguments.out))
    comparison = compare(*dumps, names=names, precision=arguments.precision)
    about = {"reference": str(arguments.reference), "checked": str(arguments.out)}
    return _report([comparison], arguments, about)


def _check_folders(*paths: Path | None) -> None:
    """Refuse outputs in folders that are not there before minutes of work, not after."""
    from .errors import ParityError

    for path in paths:
        if path is not None and not path.absolute().parent.is_dir():
            raise ParityError(f"{path}: the folder {path.absolute().parent} does not exist.")


def _report(comparisons, arguments, about) -> int:
    from . import chart, tables
    from .compare import all_hold

    print(tables.as_text(comparisons))
    for path, text in (
        (arguments.json, lambda: tables.as_json(comparisons, about)),
        (arguments.markdown, lambda: tables.as_markdown(comparisons)),
        (arguments.html, lambda: tables.as_html(comparisons)),
        (arguments.svg, lambda: chart.as_svg(comparisons)),
    ):
        if path is not None:
            tables.write_file(path, text())
    return 0 if all_hold(comparisons) else 1


def _dump(arguments) -> int:
    from .dump_command import dump

    if arguments.checkpoint is None and arguments.backend != "numpy":
        parser().error(f"dump --backend {arguments.backend} needs --checkpoint FOLDER")
    if arguments.taps and arguments.backend == "numpy":
        parser().error("dump --taps is of networks: --backend mlx or torch")
    _check_folders(arguments.output)
    dump(arguments)
    return 0


def _fabricate(arguments) -> int:
    from .errors import ParityError
    from .fabricate import STAMP, fabricate
    from .run import phase

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
    from .inputs import make_inputs

    config = variant_named(arguments.variant).default_config()
    write_dump(arguments.output, make_inputs(config, arguments.seed, arguments.audio))
    return 0


def _setup(arguments) -> int:
    from .reference import default_venv
    from .setup_env import make_environment

    python = make_environment(arguments.venv or default_venv(), arguments.torch_index)
    print(f"ready: {python}")
    if arguments.venv is not None:
        print(f"use it with --reference-python {python}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
