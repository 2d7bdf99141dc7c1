"""Small JSON for volunteers to share: what was compared, on what, and how close it is."""

from __future__ import annotations

import json

from . import tables
from .report import ParityReport

FORMAT = "mlx-chatterbox parity 1"


def as_json(report: ParityReport) -> str:
    """JSON of a few kilobytes without paths, names of people or machines, or audio."""
    rows = json.loads(tables.as_json(report.comparisons))["rows"]
    document = {
        "format": FORMAT,
        "holds": all(row["holds"] for row in rows),
        **{key: report.metadata.get(key) for key in _METADATA},
        "errors": {
            f"{comparison.checked} against {comparison.reference}": {
                row["output"]: row["error"] if row["holds"] else row["problem"]
                for row in rows
                if (row["checked"], row["reference"]) == (comparison.checked, comparison.reference)
            }
            for comparison in report.comparisons
        },
    }
    return json.dumps(document, indent=1, allow_nan=False) + "\n"


_METADATA = ("variant", "weights", "revision", "seed", "audio", "versions", "machine", "sha256")
