"""Comparisons as text for a terminal, JSON and Markdown."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..compare import Comparison, OutputVerdict, all_hold
from ..errors import ParityError
from ..whole_file import write_text

_HEADINGS = ("stage", "output", "checked", "reference", "error", "bound", "margin", "result")


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


def as_json(comparisons: Sequence[Comparison], metadata: Mapping | None = None) -> str:
    """JSON for programs, as in `report/schema.json`; an error is null where there is none."""
    rows = [
        {
            "stage": row.stage,
            "output": row.output,
            "checked": comparison.checked,
            "reference": comparison.reference,
            "precision": comparison.precision,
            "measure": row.measure,
            "error": row.error if row.error is None or math.isfinite(row.error) else None,
            "bound": row.bound,
            "margin": margin(row),
            "holds": row.holds,
            "problem": row.problem,
        }
        for comparison in comparisons
        for row in comparison.rows
    ]
    document = {"holds": all_hold(comparisons), "about": dict(metadata or {}), "rows": rows}
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def computed_on(metadata: Mapping) -> str:
    """Device, precisions and kind of products of a run, in a sentence; "" if that is not known."""
    machine = metadata.get("machine", {})
    if "TF32" not in machine:
        return ""
    line = f"Computed on a {machine['device']} in {', '.join(metadata.get('precisions', ()))}; "
    line += f"float32 products: {machine['float32 products']}, as measured"
    if machine["TF32"] == "yes":
        return f"{line}: that is TF32, so float32 cannot hold. Set MLX_ENABLE_TF32=0."
    return f"{line}: no TF32."


def as_markdown(comparisons: Sequence[Comparison], metadata: Mapping | None = None) -> str:
    """Markdown for a CI summary: the verdict, the device, then a table."""
    lines = [_HEADINGS, tuple("---" for _ in _HEADINGS), *_cells(comparisons)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    paragraphs = [f"**{verdict(comparisons)}**", computed_on(metadata or {}), table]
    return "\n\n".join(filter(None, paragraphs)) + "\n"


def write_file(path: str | Path, text: str) -> None:
    """Write a report, whole or not at all.

    Raises:
        ParityError: the folder is not there or cannot be written.
    """
    path = Path(path)
    try:
        write_text(path, text)
    except OSError as error:
        raise ParityError(f"{path} cannot be written: {error}.") from error


def _cells(comparisons: Sequence[Comparison]) -> list[tuple[str, ...]]:
    return [
        (
            row.stage,
            row.output,
            comparison.checked,
            comparison.reference,
            error_text(row),
            f"{row.bound:.0e}" if row.bound else "0",
            margin_text(row),
            "ok" if row.holds else f"FAILS: {row.problem}",
        )
        for comparison in comparisons
        for row in comparison.rows
    ]


def error_text(row: OutputVerdict) -> str:
    """An error as text."""
    if row.error is None:
        return "-"
    return f"{row.error:.2e}" if row.bound and row.error else f"{row.error:.0f}"


def margin(row: OutputVerdict) -> float | None:
    """Bound divided by error; None where there is nothing to divide."""
    if row.error is None or not row.error > 0 or not row.bound or math.isinf(row.error):
        return None
    return row.bound / row.error


def margin_text(row: OutputVerdict) -> str:
    """A margin as text."""
    value = margin(row)
    if value is None:
        return "equal" if row.error == 0 else "-"
    return f"{value:.0f} times" if value >= 10 else f"{value:.2g} times"
