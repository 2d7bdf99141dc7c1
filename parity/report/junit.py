"""Comparisons as JUnit XML, which CI systems show as tests."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

from ..compare import Comparison, OutputVerdict


def as_junit(comparisons: Sequence[Comparison]) -> str:
    """Test suites, one for each comparison, with a case for each output."""
    rows = [row for comparison in comparisons for row in comparison.rows]
    root = ElementTree.Element("testsuites", name="parity", **_counts(rows))
    for comparison in comparisons:
        name = f"{comparison.checked} against {comparison.reference}"
        suite = ElementTree.SubElement(root, "testsuite", name=name, **_counts(comparison.rows))
        for row in comparison.rows:
            _case(suite, comparison, row)
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n'


def _counts(rows: Sequence[OutputVerdict]) -> dict[str, str]:
    failed = sum(not row.holds for row in rows)
    return {"tests": str(len(rows)), "failures": str(failed), "errors": "0", "skipped": "0"}


def _case(suite: ElementTree.Element, comparison: Comparison, row: OutputVerdict) -> None:
    where = f"parity.{comparison.checked}.{comparison.reference}.{row.stage}".replace(" ", "_")
    case = ElementTree.SubElement(suite, "testcase", classname=where, name=row.output, time="0")
    text = f"{row.measure}: {row.error}, bound {row.bound}"
    if not row.holds:
        failure = ElementTree.SubElement(case, "failure", message=row.problem, type="parity")
        failure.text = text
    ElementTree.SubElement(case, "system-out").text = text
