"""Errors of a comparison as a picture: bars on a logarithmic scale, beside their bounds."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

from ..compare import Comparison, OutputVerdict

_DECADES = (-9, 0)
_LABEL, _PLOT, _VALUE, _ROW, _TOP = 210, 430, 130, 20, 46
_STYLE = """
text { font: 12px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600; font-size: 14px }
.dim { fill: #6e7781 }
.grid { stroke: #d0d7de; stroke-width: 1 }
.holds { fill: #2da44e } .fails { fill: #cf222e }
.bound { stroke: #bf8700; stroke-width: 2 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .dim { fill: #8b949e } .grid { stroke: #30363d }
}
"""


def as_svg(comparisons: Sequence[Comparison]) -> str:
    """The first comparison (ours against the main reference) as a self-contained SVG.

    Outputs without a numeric error (tokens, and whatever could not be compared) are left out.
    """
    comparison = comparisons[0]
    rows = [row for row in comparison.rows if row.error is not None and row.bound > 0]
    height = _TOP + _ROW * len(rows) + 34
    width = _LABEL + _PLOT + _VALUE
    title = f"{comparison.checked} against {comparison.reference}: error by stage, and the bound"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">',
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style>",
        f'<text class="title" x="8" y="20">{html.escape(title)}</text>',
        *_axis(len(rows)),
    ]
    for index, row in enumerate(rows):
        parts += _bar(row, _TOP + _ROW * index)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _x(value: float) -> float:
    low, high = _DECADES
    exponent = low if value <= 0 else min(max(math.log10(value), low), high)
    return _LABEL + _PLOT * (exponent - low) / (high - low)


def _axis(rows: int) -> list[str]:
    bottom = _TOP + _ROW * rows + 4
    parts = []
    for exponent in range(_DECADES[0], _DECADES[1] + 1):
        x = _x(10.0**exponent)
        parts += [
            f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP - 6}" y2="{bottom}"/>',
            f'<text class="dim" x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">'
            f"1e{exponent}</text>",
        ]
    return parts


def _bar(row: OutputVerdict, y: int) -> list[str]:
    kind = "holds" if row.holds else "fails"
    start, end, bound = _x(0.0), _x(row.error), _x(row.bound)
    shown = "equal" if row.error == 0 else f"{row.error:.1e}"
    middle = y + _ROW / 2
    return [
        f'<text x="{_LABEL - 8}" y="{middle + 4}" text-anchor="end">'
        f"{html.escape(row.output)}</text>",
        f'<rect class="{kind}" x="{start:.1f}" y="{y + 4}" width="{max(end - start, 1):.1f}" '
        f'height="{_ROW - 8}" rx="2"/>',
        f'<line class="bound" x1="{bound:.1f}" x2="{bound:.1f}" y1="{y + 1}" y2="{y + _ROW - 1}"/>',
        f'<text x="{_LABEL + _PLOT + 10}" y="{middle + 4}">{shown}</text>',
    ]
