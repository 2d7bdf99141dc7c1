"""The options of the commands that end in a report, and of those that read one."""

from __future__ import annotations

from pathlib import Path

from .. import COMMAND
from . import options

DEFAULT_REPORT = "parity-report"
FORMATS = (
    ("json", "for programs, as parity/report/schema.json says"),
    ("markdown", "a table for a CI summary"),
    ("html", "a page to look at"),
    ("svg", "errors and bounds as a picture"),
    ("junit", "JUnit XML"),
)


def add_run(commands) -> None:
    """Add `python -m parity run`."""
    run = commands.add_parser(
        "run",
        help="run everything: weights, conversion, both references, ours, the verdict",
        description="Compares all stages at full size. About three minutes on two cores.",
    )
    options.variant(run, default=None)
    options.t3_file(run)
    run.add_argument(
        "--weights",
        metavar="FOLDER or OWNER/NAME",
        help="upstream's files, downloaded if it is a repository of the hub; the reports are then "
        "always written. Fabricated without it",
    )
    run.add_argument(
        "--work",
        type=Path,
        metavar="DIR",
        help="keep weights (4 to 7 GB a variant) and dumps here, in a folder for each variant, and "
        "reuse them; a temporary folder without it",
    )
    options.seed(run)
    options.audio(run)
    run.add_argument(
        "--reference-python",
        type=Path,
        metavar="PATH",
        help="interpreter with PyTorch and chatterbox-tts (default: this one if it has them, "
        f"else the one of `{COMMAND} setup`)",
    )
    run.add_argument(
        "--stages",
        nargs="+",
        metavar="STAGE",
        help="only these, such as t3* (in quotes), and those that need no more inputs than they",
    )
    options.precision(
        run, nargs="+", default=["float32"], what="of our networks; each is held to its own bounds"
    )
    run.add_argument(
        "--report",
        type=Path,
        metavar="DIR",
        help="write the reports in all formats into this folder, with a small share.json "
        f"(default with --weights: {DEFAULT_REPORT}-VARIANT)",
    )
    _formats(run)
    run.set_defaults(action="reports.run")


def add_compare(commands) -> None:
    """Add `python -m parity compare`."""
    compare = commands.add_parser(
        "compare",
        help="compare one dump with another",
        description="Compares OUT with REFERENCE: every output of a stage that REFERENCE has must "
        "be in OUT, of the same shape and dtype, finite, and within the stage's bound.",
    )
    compare.add_argument("reference", metavar="REFERENCE", type=Path)
    compare.add_argument("out", metavar="OUT", type=Path)
    options.precision(compare, default="float32", what="of OUT, whose bounds apply")
    _formats(compare)
    compare.set_defaults(action="reports.compare")


def add_report(commands) -> None:
    """Add `python -m parity report`."""
    report = commands.add_parser(
        "report",
        help="write the reports of a kept run, with pictures",
        description="Writes report.html (one page that needs nothing else), report.md, "
        "report.json, junit.xml and share.json from the dumps of a run.",
    )
    report.add_argument(
        "folder", type=Path, metavar="FOLDER", help="WORK/VARIANT of `run --work WORK`"
    )
    report.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        default=Path(DEFAULT_REPORT),
        help="folder to write to (default: %(default)s)",
    )
    report.add_argument(
        "--layers",
        type=Path,
        metavar="F",
        help="errors by layer, from `bisect --json F`; those of `bisect --work WORK` are found",
    )
    report.set_defaults(action="reports.report")


def add_baseline(commands) -> None:
    """Add `python -m parity baseline`."""
    baseline = commands.add_parser(
        "baseline",
        help="check that no error has grown tenfold",
        description="Compares reports (`run --json`) with the errors measured before, in "
        "parity/baseline.json: none may be more than ten times as large, bounds or not.",
    )
    baseline.add_argument("reports", nargs="+", type=Path, metavar="JSON")
    baseline.add_argument(
        "--write",
        action="store_true",
        help="make their errors the new baseline, and write the README's table from it",
    )
    baseline.set_defaults(action="reports.baseline")


def add_peer(commands) -> None:
    """Add `python -m parity peer`."""
    peer = commands.add_parser(
        "peer",
        help="measure mlx-audio's port on the same weights",
        description="Computes every stage that mlx-audio 0.6.2 has with mlx-audio's own functions, "
        "on the weights and inputs of a run that was kept, and compares them with PyTorch. Makes "
        "its environment (0.6 GB) and its files (3.2 GB, in FOLDER) where there are none. Ends "
        "with 0 whatever it scores.",
    )
    peer.add_argument(
        "folder", type=Path, metavar="FOLDER", help="WORK/english of `run --work WORK`"
    )
    peer.add_argument(
        "--mlx-audio-python", type=Path, metavar="PATH", help="an interpreter that has mlx-audio"
    )
    peer.add_argument(
        "--write",
        action="store_true",
        help="keep its errors in parity/peer.json and put them into the table of docs/parity.md",
    )
    peer.set_defaults(action="reports.peer")


def _formats(command) -> None:
    for name, what in FORMATS:
        command.add_argument(f"--{name}", type=Path, metavar="F", help=f"write {name} too: {what}")
