"""The report of a run in all its formats."""

from __future__ import annotations

from pathlib import Path

from ..errors import ParityError
from . import junit, page, sharing, tables
from .report import ParityReport


def write_all(report: ParityReport, folder: Path) -> list[Path]:
    """Write every format into `folder`, which is made; returns the files.

    Raises:
        ParityError: it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ParityError(f"{folder} cannot be created: {error}.") from error
    texts = {
        "report.html": page.as_html(report),
        "report.md": tables.as_markdown(report.comparisons, report.metadata),
        "report.json": tables.as_json(report.comparisons, report.metadata),
        "junit.xml": junit.as_junit(report.comparisons),
        "share.json": sharing.as_json(report),
    }
    for name, text in texts.items():
        tables.write_file(folder / name, text)
    return [folder / name for name in texts]
