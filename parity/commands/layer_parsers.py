"""The options of the commands that look at layers: `bisect` and `mutate`."""

from __future__ import annotations

import argparse
from pathlib import Path

from .. import COMMAND
from . import options

BISECT = """\
Walks the layers of every network in order of computation, compares the inputs and outputs of each
with the reference, and names the first whose outputs differ though its inputs do not. Its inputs,
outputs and weights are saved with a script that calls it alone."""

BISECT_EXAMPLES = f"""\
examples:
  {COMMAND} bisect --small                 a model of seconds, against upstream's classes
  {COMMAND} bisect --small --fault wrong_gelu      the same with a fault planted
  {COMMAND} bisect --variant chattts       against NumPy, no PyTorch
  {COMMAND} bisect --variant turbo --stages t3     full size, one stage
  {COMMAND} bisect --reference torch.taps --checkpoint FOLDER   against a file, no PyTorch
  {COMMAND} bisect --reference torch.taps --found mine.taps     two files
a file is written by `{COMMAND} dump --taps`"""


def add_bisect(commands) -> None:
    """Add `python -m parity bisect`."""
    bisect = commands.add_parser(
        "bisect",
        help="find the first layer that differs",
        description=BISECT,
        epilog=BISECT_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.variant(bisect, default=None)
    options.t3_file(bisect)
    bisect.add_argument("--weights", metavar="FOLDER or OWNER/NAME", help="as in `run`")
    bisect.add_argument("--work", type=Path, metavar="DIR", help="as in `run`")
    options.seed(bisect)
    bisect.add_argument("--audio", type=Path, metavar="WAV", help="as in `run`")
    bisect.add_argument("--small", action="store_true", help="a small model with made-up weights")
    bisect.add_argument("--reference-python", type=Path, metavar="PATH", help="as in `run`")
    bisect.add_argument(
        "--reference", type=Path, metavar="TAPS", help="a tap file in place of PyTorch or NumPy"
    )
    bisect.add_argument(
        "--checkpoint", type=Path, metavar="FOLDER", help="our checkpoint, with --reference"
    )
    bisect.add_argument(
        "--found", type=Path, metavar="TAPS", help="a tap file in place of a checkpoint"
    )
    options.stages(bisect)
    bisect.add_argument(
        "--fault", default="", metavar="NAME", help="plant one of the faults of `mutate`"
    )
    bisect.add_argument(
        "--save",
        type=Path,
        metavar="DIR",
        default=Path("parity-bisect"),
        help="folder for the reproduction of a difference, if there is one (default: %(default)s)",
    )
    bisect.add_argument("--json", type=Path, metavar="F", help="write all layers' errors too")
    bisect.set_defaults(action="layers.bisect")


def add_mutate(commands) -> None:
    """Add `python -m parity mutate`."""
    mutate = commands.add_parser(
        "mutate",
        help="plant faults one at a time, to see whether each is caught and named",
        description="Plants realistic porting faults in small models of ours, one at a time: `run` "
        "must catch each, `bisect` must name the layer it is in.",
    )
    mutate.add_argument("faults", nargs="*", metavar="FAULT", help="only these")
    options.variant(mutate, default=None, shown="only those of its model; chattts needs no PyTorch")
    mutate.add_argument("--list", action="store_true", help="list the faults and what each does")
    mutate.add_argument("--work", type=Path, metavar="DIR", help="keep the small models here")
    mutate.add_argument("--reference-python", type=Path, metavar="PATH", help="as in `run`")
    mutate.set_defaults(action="layers.mutate")
