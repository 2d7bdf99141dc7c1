"""Comparisons as text for a terminal, JSON, Markdown and HTML."""

from __future__ import annotations

import html
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from .compare import Comparison, Row, all_hold
from .errors import ParityError

_HEADINGS = ("stage", "output", "checked", "reference", "error", "bound", "result")


def as_text(comparisons: Sequence[Comparison]) -> str:
    """A table in columns, then one line with the verdict."""
    table = [_HEADINGS, *_cells(comparisons)]
    widths = [max(len(line[column]) for line in table) for column in range(len(_HEADINGS))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in table
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join([*lines, "", verdict(comparisons)])


def verdict(comparisons: Sequence[Comparison]) -> str:
    """The result in one sentence."""
    rows = [row for comparison in comparisons for row in comparison.rows]
    failed = sum(not row.holds for row in rows)
    if failed:
        return f"PARITY FAILS: {failed} of {len(rows)} comparisons do not hold."
    return f"Parity holds: all {len(rows)} comparisons."


def as_json(comparisons: Sequence[Comparison], about: Mapping | None = None) -> str:
    """For programs: `holds`, `about`, and `rows`, their error null where there is none."""
    rows = [
        {
            "stage": row.stage,
            "output": row.output,
            "checked": comparison.checked,
            "reference": comparison.reference,
            "measure": row.measure,
            "error": row.error if row.error is None or math.isfinite(row.error) else None,
            "bound": row.bound,
            "holds": row.holds,
            "problem": row.problem,
        }
        for comparison in comparisons
        for row in comparison.rows
    ]
    document = {"holds": all_hold(comparisons), "about": dict(about or {}), "rows": rows}
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def as_markdown(comparisons: Sequence[Comparison]) -> str:
    """A table as in a README."""
    lines = [_HEADINGS, tuple("---" for _ in _HEADINGS), *_cells(comparisons)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{table}\n\n{verdict(comparisons)}\n"


_PAGE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Parity</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem;
  padding: 0 1rem; background: Canvas; color: CanvasText; }}
div {{ overflow-x: auto; }}
table {{ border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }}
th, td {{ text-align: left; padding: .35rem .6rem; border-bottom: 1px solid #8886; }}
.holds td:last-child {{ color: light-dark(#15703a, #6fd695); }}
.fails td {{ background: light-dark(#fbe3e3, #4a1f22); }}
</style>
<h1>Parity</h1>
<p>{verdict}</p>
<div><table>
<thead><tr>{headings}</tr></thead>
<tbody>
{rows}
</tbody>
</table></div>
</html>
"""


def as_html(comparisons: Sequence[Comparison]) -> str:
    """A page that needs nothing else, light or dark as the reader's system is."""
    rows = [row for comparison in comparisons for row in comparison.rows]
    lines = [
        f'<tr class="{"holds" if row.holds else "fails"}">'
        + "".join(f"<td>{html.escape(cell)}</td>" for cell in line)
        + "</tr>"
        for row, line in zip(rows, _cells(comparisons), strict=True)
    ]
    return _PAGE.format(
        verdict=html.escape(verdict(comparisons)),
        headings="".join(f"<th>{heading}</th>" for heading in _HEADINGS),
        rows="\n".join(lines),
    )


def write_file(path: str | Path, text: str) -> None:
    """Write a report through a temporary name in the same folder.

    Raises:
        ParityError: the folder is not there or cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        raise ParityError(f"{path} cannot be written: {error}.") from error
    finally:
        temporary.unlink(missing_ok=True)


def _cells(comparisons: Sequence[Comparison]) -> list[tuple[str, ...]]:
    return [
        (
            row.stage,
            row.output,
            comparison.checked,
            comparison.reference,
            _error(row),
            f"{row.bound:.0e}" if row.bound else "0",
            "ok" if row.holds else f"FAILS: {row.problem}",
        )
        for comparison in comparisons
        for row in comparison.rows
    ]


def _error(row: Row) -> str:
    if row.error is None:
        return "-"
    return f"{row.error:.2e}" if row.bound else f"{row.error:.0f}"
