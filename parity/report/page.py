"""The report as one HTML page that needs nothing else: no network, no script.

Light or dark as the reader's system is; on a phone its tables and pictures are one below the other.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Mapping, Sequence

from ..compare import Comparison, OutputVerdict
from .pictures import Picture, layers_picture, pictures_of
from .report import ParityReport
from .style import STYLE
from .tables import error_text, margin_text, verdict

_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Parity</title>
<style>{style}</style>
</head>
<body>
<main>
<header>
<h1>Parity</h1>
<p class="verdict {state}">{verdict}</p>
{facts}
</header>
{body}
</main>
</body>
</html>
"""
_COLUMNS = ("output", "precision", "error", "bound", "margin", "")


def as_html(report: ParityReport) -> str:
    """Write the page as HTML."""
    holds = all(comparison.holds for comparison in report.comparisons)
    body = [_summary(report), *_stages(report), _provenance(report.metadata)]
    return _PAGE.format(
        style=STYLE,
        state="holds" if holds else "fails",
        verdict=html.escape(verdict(report.comparisons)),
        facts=_facts(report),
        body="\n".join(part for part in body if part),
    )


def _facts(report: ParityReport) -> str:
    """Line below the verdict: the model, the weights, the machine."""
    metadata, versions = report.metadata, report.metadata.get("versions", {})
    facts = [
        metadata.get("variant"),
        metadata.get("weights") and f"weights: {metadata['weights']}",
        versions.get("mlx") and f"MLX {versions['mlx']}",
        metadata.get("machine") and " ".join(map(str, metadata["machine"].values())),
        *sorted({f"against {comparison.reference}" for comparison in report.comparisons}),
    ]
    shown = "".join(f"<li>{html.escape(str(fact))}</li>" for fact in facts if fact)
    return f'<ul class="facts">{shown}</ul>'


def _by_stage(
    comparisons: Sequence[Comparison],
) -> dict[str, list[tuple[Comparison, OutputVerdict]]]:
    stages: dict[str, list] = {}
    for comparison in comparisons:
        for row in comparison.rows:
            stages.setdefault(row.stage, []).append((comparison, row))
    return stages


def _summary(report: ParityReport) -> str:
    """Table with a line for each stage: its worst output, and a link to it."""
    lines = []
    for stage, rows in _by_stage(report.comparisons).items():
        worst = max((row for _, row in rows), key=_severity)
        state = "holds" if all(row.holds for _, row in rows) else "fails"
        name = html.escape(stage)
        lines.append(
            f'<tr class="{state}"><td><a href="#{name}">{name}</a></td>'
            f'<td class="what">{html.escape(worst.output)}</td>{_figures(worst)}</tr>'
        )
    heads = ("stage", "worst output", "error", "bound", "margin", "")
    return f"<h2>Summary</h2>{_table(heads, lines)}"


def _severity(row: OutputVerdict) -> float:
    """Share of its bound that an output uses; infinite where it fails."""
    if not row.holds:
        return math.inf
    return row.error / row.bound if row.bound and row.error else 0.0


def _stages(report: ParityReport) -> Iterator[str]:
    layers = {stage["stage"]: stage for stage in report.layers}
    pictured = report.comparisons[0] if report.comparisons else None
    for stage, rows in _by_stage(report.comparisons).items():
        lines = []
        for comparison, row in rows:
            against = f"{comparison.checked} against {comparison.reference}"
            lines.append(
                f'<tr class="{"holds" if row.holds else "fails"}">'
                f"<td>{html.escape(row.output)}<small>{html.escape(against)}</small></td>"
                f"<td>{html.escape(comparison.precision)}</td>{_figures(row)}</tr>" + _problem(row)
            )
        drawn = []
        if stage in layers and (picture := layers_picture(layers[stage])) is not None:
            drawn.append(picture)
        for comparison, row in rows:
            name = row.output
            if comparison is pictured and name in report.reference and name in report.actual:
                arrays = report.reference[name], report.actual[name]
                drawn += pictures_of(name, *arrays, row.bound)
        name = html.escape(stage)
        yield (
            f'<section id="{name}"><h2>{name}</h2>{_table(_COLUMNS, lines)}'
            f'<div class="pictures">{"".join(map(_figure, drawn))}</div></section>'
        )


def _figures(row: OutputVerdict) -> str:
    bound = f"{row.bound:.0e}" if row.bound else "equal"
    mark = "holds" if row.holds else "fails"
    return (
        f'<td class="n" data-is="error">{html.escape(error_text(row))}</td>'
        f'<td class="n" data-is="bound">{bound}</td>'
        f'<td class="n" data-is="margin">{html.escape(margin_text(row))}</td>'
        f'<td class="mark">{mark}</td>'
    )


def _problem(row: OutputVerdict) -> str:
    if not row.problem:
        return ""
    return f'<tr class="fails"><td colspan="6">{html.escape(row.problem)}</td></tr>'


def _table(heads: Sequence[str], lines: Sequence[str]) -> str:
    cells = "".join(f"<th>{head}</th>" for head in heads)
    return (
        f'<div class="scrolls"><table class="rows"><thead><tr>{cells}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>\n"
    )


def _figure(picture: Picture) -> str:
    caption = html.escape(picture.caption)
    return f"<figure>{picture.content}<figcaption>{caption}</figcaption></figure>\n"


def _provenance(metadata: Mapping) -> str:
    """Table of all metadata."""
    lines = [
        f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>"
        for name, value in _flat(metadata)
    ]
    if not lines:
        return ""
    return (
        '<section id="provenance"><h2>What was compared</h2><div class="scrolls">'
        f'<table class="about"><tbody>{"".join(lines)}</tbody></table></div></section>'
    )


def _flat(values: Mapping, before: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        name = f"{before} {key}".strip()
        if isinstance(value, Mapping):
            yield from _flat(value, name)
        elif isinstance(value, (list, tuple)):
            yield name, ", ".join(map(str, value))
        elif value is not None:
            yield name, str(value)
