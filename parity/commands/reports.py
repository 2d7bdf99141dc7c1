"""`run`, `compare` and `report`, which end in a report; `baseline` and `peer`, which read one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..compare import all_hold
from ..compare import compare as compare_dumps
from ..dumps import read_dump
from ..peers.score import score
from ..report import baseline as baselines
from ..report import chart, junit, page, tables
from ..report.report import ParityReport, of_folder, read_layers
from ..report.writing import write_all
from ..run import run as run_all
from . import options
from .report_parsers import DEFAULT_REPORT, FORMATS


def run(arguments) -> int:
    """Run `python -m parity run`; 0 if everything holds."""
    options.check_folders(*(getattr(arguments, name) for name, _ in FORMATS))
    precisions = tuple(arguments.precision)
    only = None if arguments.stages is None else tuple(arguments.stages)
    report = run_all(options.settings(arguments, precisions=precisions, only=only))
    folder = arguments.report
    if folder is None and arguments.weights is not None:
        folder = Path(f"{DEFAULT_REPORT}-{report.metadata['variant']}")
    if folder is not None:
        _say_written(write_all(report, folder))
    return _finish(report, arguments)


def peer(arguments) -> int:
    """Run `python -m parity peer`; 0 whatever the peer scores."""
    comparison = score(arguments.folder, arguments.mlx_audio_python)
    print(tables.as_text([comparison]))
    if arguments.write:
        for path in baselines.write_peer(comparison):
            print(f"written: {path}")
    return 0


def compare(arguments) -> int:
    """Run `python -m parity compare`; 0 if everything holds."""
    names = (arguments.out.name, arguments.reference.name)
    dumps = (read_dump(arguments.reference), read_dump(arguments.out))
    comparison = compare_dumps(*dumps, names=names, precision=arguments.precision)
    metadata = {"reference": arguments.reference.name, "checked": arguments.out.name}
    return _finish(ParityReport([comparison], metadata, *dumps), arguments)


def _finish(report, arguments) -> int:
    """Print the table and write the formats asked for; 0 if everything holds."""
    comparisons = report.comparisons
    print(tables.as_text(comparisons))
    if device := tables.computed_on(report.metadata):
        print(device)
    writers: dict[str, Callable[[], str]] = {
        "json": lambda: tables.as_json(comparisons, report.metadata),
        "markdown": lambda: tables.as_markdown(comparisons, report.metadata),
        "html": lambda: page.as_html(report),
        "svg": lambda: chart.as_svg(comparisons),
        "junit": lambda: junit.as_junit(comparisons),
    }
    for name, as_text in writers.items():
        if (path := getattr(arguments, name)) is not None:
            tables.write_file(path, as_text())
    return 0 if all_hold(comparisons) else 1


def report(arguments) -> int:
    """Run `python -m parity report`; 0 if everything holds."""
    loaded = of_folder(arguments.folder)
    if arguments.layers is not None:
        loaded.layers = read_layers(arguments.layers)
    _say_written(write_all(loaded, arguments.output))
    print(tables.verdict(loaded.comparisons))
    return 0 if all_hold(loaded.comparisons) else 1


def _say_written(paths: list[Path]) -> None:
    print("written: " + ", ".join(map(str, paths)))


def baseline(arguments) -> int:
    """Run `python -m parity baseline`; 0 if no error has grown tenfold."""
    documents = [baselines.read_report(path) for path in arguments.reports]
    previous = {} if arguments.write else baselines.read_baseline()
    if arguments.write:
        for path in baselines.write(documents):
            print(f"written: {path}")
        return 0
    for variant in {document["about"]["variant"] for document in documents} - set(previous):
        print(f"{variant} is not in the baseline: `--write` takes it in.")
    grown = [growth for document in documents for growth in baselines.growths(document, previous)]
    for growth in grown:
        print(growth)
    rows = sum(len(document["rows"]) for document in documents)
    print(
        f"{len(grown)} of {rows} errors have grown tenfold."
        if grown
        else f"None of {rows} errors has grown tenfold."
    )
    return 1 if grown else 0
