"""Errors measured before, in `baseline.json`, so that a tenfold growth is seen before a failure.

The figures are of two Linux cores; another machine rounds otherwise, by less than tenfold.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..compare import Comparison
from ..errors import ParityError
from ..stages import expanded, stages_of
from ..tables.stage import CHATTTS, EQUAL, FLASH, Stage, StageOutput
from . import checked_json
from .tables import write_file

_PARITY = Path(__file__).parents[1]
BASELINE_FILE, PEER_FILE = _PARITY / "baseline.json", _PARITY / "peer.json"
# The page of the documentation that has the table.
PAGE = _PARITY.parent / "docs" / "parity.md"
GROWTH = 10.0
# Errors below this share of their bound are rounding; a tenfold change of them means nothing.
ROUNDING = 1e-3
BEGIN, END = "<!-- parity table, from parity/baseline.json -->", "<!-- end of parity table -->"
_MAIN = "mlx against torch"


@dataclass(frozen=True)
class Growth:
    """An error that is larger than it may be; None where it could not be computed."""

    variant: str
    against: str
    output: str
    before: float
    error: float | None
    limit: float

    def __str__(self) -> str:
        now = "no error could be computed" if self.error is None else f"{self.error:.2e}"
        return (
            f"{self.variant}: {self.output}, {self.against}: {now}, was {self.before:.2e} "
            f"(at most {self.limit:.2e})"
        )


def read_baseline(path: Path = BASELINE_FILE) -> dict[str, dict[str, dict[str, float]]]:
    """Errors by variant, by the pair compared, by output."""
    return json.loads(path.read_text(encoding="utf-8"))


def read_report(path: Path) -> dict:
    """Read a report of `run --json`.

    Raises:
        ParityError: it is not a report.
    """
    return checked_json.read_report(path)


def growths(report: Mapping, baseline: Mapping | None = None) -> list[Growth]:
    """Errors of a report that are more than ten times those of the baseline.

    An output or a variant that the baseline does not have is new, and has no limit but its bound;
    an output that the report does not have any more is an error, unless the run was one of some
    stages.

    Raises:
        ParityError: the report lacks outputs.
    """
    baseline = read_baseline() if baseline is None else baseline
    variant = report["about"]["variant"]
    rows = {(_against(row), row["output"]): row for row in report["rows"]}
    grown = []
    for against, outputs in baseline.get(variant, {}).items():
        for output, before in outputs.items():
            row = rows.get((against, output))
            if row is None and report["about"].get("only"):
                continue  # of stages that were not asked for
            if row is None:
                raise ParityError(f"the report of {variant} has no {output}, {against}.")
            limit = GROWTH * max(before, ROUNDING * row["bound"])
            if row["error"] is None or row["error"] > limit:
                grown.append(Growth(variant, against, output, before, row["error"], limit))
    return grown


def of_reports(reports: Iterable[Mapping]) -> dict[str, dict[str, dict[str, float]]]:
    """Baseline of reports' errors, two digits of each.

    Raises:
        ParityError: one of them does not hold, or is of some stages.
    """
    result: dict = {}
    for report in reports:
        if report["about"].get("only"):
            raise ParityError("a run of some stages is no baseline: leave --stages out.")
        variant = report["about"]["variant"]
        if not report["holds"]:
            raise ParityError(f"the report of {variant} does not hold, so it cannot be a baseline.")
        for row in report["rows"]:
            outputs = result.setdefault(variant, {}).setdefault(_against(row), {})
            outputs[row["output"]] = shortened(row["error"])
    return result


def write(reports: Iterable[Mapping], path: Path = BASELINE_FILE, page: Path = PAGE) -> list[Path]:
    """Write the baseline, in which variants without a report stay, and the page's table."""
    previous = read_baseline(path) if path.is_file() else {}
    baseline = {**previous, **of_reports(reports)}
    write_file(path, json.dumps(baseline, indent=1) + "\n")
    write_file(page, with_table(page.read_text(encoding="utf-8"), baseline, read_peer()))
    return [path, page]


def write_peer(comparison: Comparison, path: Path = PEER_FILE, page: Path = PAGE) -> list[Path]:
    """Write another port's errors, two digits of each, and the page's table."""
    errors = {row.output: shortened(row.error) for row in comparison.rows}
    peer = {"name": comparison.checked, "errors": errors}
    write_file(path, json.dumps(peer, indent=1) + "\n")
    text = with_table(page.read_text(encoding="utf-8"), read_baseline(), peer)
    write_file(page, text)
    return [path, page]


def read_peer(path: Path = PEER_FILE) -> dict:
    """The port's name and its errors by output; null where it has none, or of another shape."""
    return json.loads(path.read_text(encoding="utf-8"))


def shortened(error: float | None) -> float | None:
    return None if error is None else float(f"{error:.1e}")


def table(baseline: Mapping, peer: Mapping) -> str:
    """The page's tables, in float32: Chatterbox's, a column a variant and one of the peer, against
    PyTorch; and ChatTTS's."""
    first = {variant: pairs for variant, pairs in baseline.items() if variant != CHATTTS}
    columns = {variant: pairs.get(_MAIN, {}) for variant, pairs in first.items()}
    columns[f"{peer['name']}, english"] = peer["errors"]
    parts = [_table(columns, stages_of(FLASH), set(first))]
    if CHATTTS in baseline:
        names = [name for pairs in baseline[CHATTTS].values() for name in pairs]
        own = _table(baseline[CHATTTS], expanded(names, stages_of(CHATTTS)), None)
        parts += ["ChatTTS, against tensors of its own modules and against plain NumPy:", own]
    return "\n\n".join(parts)


def _table(columns: Mapping[str, Mapping], stages: Sequence[Stage], needed: set[str] | None) -> str:
    """A table with a line for each output that one of the needed columns has; None: any."""
    heads = ["stage", "output", *columns]
    lines = [heads, ["---"] * len(heads)]
    for stage in stages:
        for output in stage.outputs:
            has = [c for c in (needed or columns) if columns[c].get(output.name) is not None]
            if has:
                errors = [column.get(output.name) for column in columns.values()]
                name = output.name.partition("/")[2]
                lines.append([stage.name, name, *(_shown(error, output) for error in errors)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def with_table(text: str, baseline: Mapping, peer: Mapping) -> str:
    """A page with the table between its two marks.

    Raises:
        ParityError: it has no marks.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ParityError(f"no {BEGIN} and {END} in the page of the table.")
    return f"{before}{BEGIN}\n\n{table(baseline, peer)}\n\n{END}{after}"


def _against(row: Mapping) -> str:
    return f"{row['checked']} against {row['reference']}"


def _shown(error: float | None, output: StageOutput) -> str:
    """An error as the table shows it; for tokens, how many differ."""
    if error is None:
        return "-"
    if error == 0:
        return "equal"
    return f"{error:.0f} differ" if output.measure == EQUAL else f"{error:.1e}"
