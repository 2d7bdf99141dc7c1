"""The commands that end in a report: `run`, `compare`, `report`, and `baseline`, which reads it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from . import options

DEFAULT_REPORT = "parity-report"
_FORMATS = (
    ("json", "for programs, as parity/report/schema.json says"),
    ("markdown", "a table for a CI summary"),
    ("html", "a page to look at"),
    ("svg", "errors and bounds as a picture"),
    ("junit", "JUnit XML"),
)


def add_run(commands) -> None:
    """`python -m parity run`."""
    run = commands.add_parser(
        "run",
        help="everything at once: weights, conversion, both references, ours, the verdict",
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
        "else the one of `python -m parity setup`)",
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
    run.set_defaults(function=_run)


def add_compare(commands) -> None:
    """`python -m parity compare`."""
    compare = commands.add_parser(
        "compare",
        help="hold one dump against another",
        description="Holds OUT against REFERENCE: every output of a stage that REFERENCE has must "
        "be in OUT, of the same shape and dtype, finite, and within the stage's bound.",
    )
    compare.add_argument("reference", metavar="REFERENCE", type=Path)
    compare.add_argument("out", metavar="OUT", type=Path)
    options.precision(compare, default="float32", what="of OUT: which bounds hold")
    _formats(compare)
    compare.set_defaults(function=_compare)


def add_report(commands) -> None:
    """`python -m parity report`."""
    report = commands.add_parser(
        "report",
        help="write the reports of a run that was kept, pictures and all",
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
        help="where to (default: %(default)s)",
    )
    report.add_argument(
        "--layers",
        type=Path,
        metavar="F",
        help="errors by layer, from `bisect --json F`; those of `bisect --work WORK` are found",
    )
    report.set_defaults(function=_report)


def add_baseline(commands) -> None:
    """`python -m parity baseline`."""
    baseline = commands.add_parser(
        "baseline",
        help="has an error grown tenfold?",
        description="Holds reports (`run --json`) against the errors measured before, in "
        "parity/baseline.json: none may be more than ten times as large, bounds or not.",
    )
    baseline.add_argument("reports", nargs="+", type=Path, metavar="JSON")
    baseline.add_argument(
        "--write",
        action="store_true",
        help="take their errors as the new baseline, and write the README's table from it",
    )
    baseline.set_defaults(function=_baseline)


def add_peer(commands) -> None:
    """`python -m parity peer`."""
    peer = commands.add_parser(
        "peer",
        help="what does mlx-audio's port score on the same weights?",
        description="Computes every stage that mlx-audio 0.6.2 has with mlx-audio's own functions, "
        "on the weights and inputs of a run that was kept, and holds them against PyTorch. Makes "
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
        help="keep its errors in parity/peer.json and put them into the README's table",
    )
    peer.set_defaults(function=_peer)


def _formats(command) -> None:
    for name, what in _FORMATS:
        command.add_argument(f"--{name}", type=Path, metavar="F", help=f"write {name} too: {what}")


def _run(arguments) -> int:
    from ..report.writing import write_all
    from ..run import run
    from ..settings import Settings

    options.check_folders(*(getattr(arguments, name) for name, _ in _FORMATS))
    names = ("variant", "t3_file", "weights", "work", "seed", "audio", "reference_python")
    values = {name: getattr(arguments, name) for name in names}
    report = run(Settings(**values, precisions=tuple(arguments.precision)))
    folder = arguments.report
    if folder is None and arguments.weights is not None:
        folder = Path(f"{DEFAULT_REPORT}-{report.about['variant']}")
    if folder is not None:
        _say_written(write_all(report, folder))
    return _finish(report, arguments)


def _peer(arguments) -> int:
    from ..peers import score as peer
    from ..report import baseline, tables

    comparison = peer.score(arguments.folder, arguments.mlx_audio_python)
    print(tables.as_text([comparison]))
    if arguments.write:
        for path in baseline.write_peer(comparison):
            print(f"written: {path}")
    return 0


def _compare(arguments) -> int:
    from ..compare import compare
    from ..dumps import read_dump
    from ..report.report import Report

    names = (arguments.out.name, arguments.reference.name)
    dumps = (read_dump(arguments.reference), read_dump(arguments.out))
    comparison = compare(*dumps, names=names, precision=arguments.precision)
    about = {"reference": arguments.reference.name, "checked": arguments.out.name}
    return _finish(Report([comparison], about, *dumps), arguments)


def _finish(report, arguments) -> int:
    """Print the table, write the formats asked for, and say by the exit code whether all holds."""
    from ..compare import all_hold
    from ..report import chart, junit, tables
    from ..report import page as report_page

    comparisons = report.comparisons
    print(tables.as_text(comparisons))
    if said := tables.computed_on(report.about):
        print(said)
    writers: dict[str, Callable[[], str]] = {
        "json": lambda: tables.as_json(comparisons, report.about),
        "markdown": lambda: tables.as_markdown(comparisons, report.about),
        "html": lambda: report_page.as_html(report),
        "svg": lambda: chart.as_svg(comparisons),
        "junit": lambda: junit.as_junit(comparisons),
    }
    for name, as_text in writers.items():
        if (path := getattr(arguments, name)) is not None:
            tables.write_file(path, as_text())
    return 0 if all_hold(comparisons) else 1


def _report(arguments) -> int:
    from ..compare import all_hold
    from ..report.report import of_folder, read_layers
    from ..report.tables import verdict
    from ..report.writing import write_all

    report = of_folder(arguments.folder)
    if arguments.layers is not None:
        report.layers = read_layers(arguments.layers)
    _say_written(write_all(report, arguments.output))
    print(verdict(report.comparisons))
    return 0 if all_hold(report.comparisons) else 1


def _say_written(paths: list[Path]) -> None:
    print("written: " + ", ".join(map(str, paths)))


def _baseline(arguments) -> int:
    from ..report import baseline

    documents = [baseline.read_report(path) for path in arguments.reports]
    known = {} if arguments.write else baseline.read_baseline()
    if arguments.write:
        for path in baseline.write(documents):
            print(f"written: {path}")
        return 0
    for variant in {one["about"]["variant"] for one in documents} - set(known):
        print(f"{variant} is not in the baseline: `--write` takes it in.")
    found = [growth for one in documents for growth in baseline.growths(one, known)]
    for growth in found:
        print(growth)
    rows = sum(len(one["rows"]) for one in documents)
    print(
        f"{len(found)} of {rows} errors have grown tenfold."
        if found
        else f"None of {rows} errors has grown tenfold."
    )
    return 1 if found else 0
