"""The report: Markdown for people, an object for programs, and the text of an issue."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from .._version import __version__
from ..runtime.own_files import write_whole
from .examination import Examination
from .findings import (
    FAILED,
    FIGURE,
    LEFT_OUT,
    NOT_APPLICABLE,
    RIGHT,
    ReportLine,
    Section,
    Table,
    number,
    shown,
)
from .verdict import TITLE as VERDICT_TITLE
from .verdict import MachineVerdict

# Raised when a reader of older reports would misunderstand newer ones.
SCHEMA = 1
SCHEMA_FILE = Path(__file__).with_name("schema.json")
_MARKS = {FIGURE: "", RIGHT: "right", FAILED: "FAILED"}


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |"


def _line(line: ReportLine) -> str:
    if line.state in (NOT_APPLICABLE, LEFT_OUT):
        return _row([line.title, line.state, line.note])
    value = " ".join(filter(None, [shown(line.value, line.unit), _MARKS[line.state]]))
    return _row([line.title, value, line.note])


def _table(table: Table) -> list[str]:
    head = _row([table.unit, *table.columns])
    rows = [
        _row([name, *("-" if value is None else number(value) for value in values)])
        for name, values in table.rows.items()
    ]
    note = ["", f"({table.note})"] if table.note else []
    rule = _row(["---"] * (len(table.columns) + 1))
    return ["", f"**{table.title}**", "", head, rule, *rows, *note]


def section_text(section: Section) -> str:
    """One section as Markdown."""
    parts = [f"## {section.title} ({section.seconds:.1f} s)", ""]
    if section.lines:
        parts += [_row(["what", "found", "note"]), _row(["---"] * 3)]
        parts += map(_line, section.lines)
    for table in section.tables:
        if table.rows:
            parts += _table(table)
    return "\n".join(parts) + "\n"


def heading(exam: Examination) -> str:
    """The heading of the report."""
    minutes = f"{exam.budget.seconds / 60:.3g} minute(s)"
    short = ", short" if exam.is_short else ""
    return f"# mlx-chatterbox doctor\n\nVersion {__version__}, at most {minutes}{short}.\n"


def verdict_text(exam: Examination, verdict: MachineVerdict) -> str:
    """The verdict as Markdown, with what was left out."""
    parts = [f"## {VERDICT_TITLE}", ""]
    parts += [f"* {sentence}" for sentence in verdict.sentences]
    if verdict.expected:
        head = ["model", "precision", "real-time factor", "estimated from"]
        parts += [
            "",
            "**Expected speed** (an estimate: seconds of work for a second of speech, of ",
        ]
        parts[-1] += "a sentence of 4 s; below 1 is faster than real time)"
        parts += ["", _row(head), _row(["---"] * len(head))]
        for one in verdict.expected:
            is_best = verdict.best.get(one.variant) == one.precision
            best = f"{one.precision} (best)" if is_best else one.precision
            parts.append(_row([one.variant, best, number(one.factor), one.source]))
    if verdict.failed:
        parts += ["", "**Failed**", "", *(f"* {text}" for text in verdict.failed)]
    out = left_out(exam)
    parts += ["", "**Left out**", ""]
    parts += [f"* {one['title']}: {one['why']}" for one in out] or ["* nothing"]
    parts += ["", f"{exam.budget.used():.0f} s of {exam.budget.seconds:.0f} s were used."]
    return "\n".join(parts) + "\n"


def left_out(exam: Examination) -> list[dict[str, str]]:
    """The checks that the budget did not allow, and why."""
    return [
        {"section": section.name, "name": line.name, "title": line.title, "why": line.note}
        for section in exam.sections
        for line in section.of_state(LEFT_OUT)
    ]


def issue(exam: Examination, verdict: MachineVerdict) -> tuple[str, str]:
    """Title and body of an issue."""
    facts = exam.facts
    machine = facts.get("gpu") or facts.get("processor", "unknown machine")
    state = f"{len(verdict.failed)} failed" if verdict.failed else "all right"
    title = f"doctor: {state} on {machine}, {facts.get('system', 'unknown system')}"
    versions = f"mlx-chatterbox {__version__}, mlx {facts.get('mlx', 'unknown')}"
    body = [f"{versions}, computing on the {facts.get('device', 'unknown device')}.", ""]
    if verdict.failed:
        body += ["Failed:", *(f"* {text}" for text in verdict.failed), ""]
    body += ["Real-time factors (estimated):"]
    body += [f"* {e.variant}, {e.precision}: {number(e.factor)}" for e in verdict.expected]
    if not verdict.expected:
        body.append("* none")
    out = left_out(exam)
    if out:
        body += ["", f"Left out: {'; '.join(one['title'] for one in out)}."]
    body += ["", "What I did, and what I expected: ", "", "(Please attach the JSON file.)"]
    return title, "\n".join(body)


def issue_text(exam: Examination, verdict: MachineVerdict) -> str:
    """The issue, to be copied."""
    title, body = issue(exam, verdict)
    return f"## Text for an issue\n\nTitle: {title}\n\n```text\n{body}\n```\n"


def document(exam: Examination, verdict: MachineVerdict) -> dict:
    """Everything, as `schema.json` says."""
    title, body = issue(exam, verdict)
    return {
        "schema": SCHEMA,
        "version": __version__,
        "right": not verdict.failed,
        "budget": {
            "seconds": exam.budget.seconds,
            "used_seconds": round(exam.budget.used(), 1),
            "short": exam.is_short,
        },
        "sections": [_section(section) for section in exam.sections],
        "left_out": left_out(exam),
        "verdict": {
            "best_precision": verdict.best,
            "real_time_factors": [asdict(one) for one in verdict.expected],
            "sentences": verdict.sentences,
            "failed": verdict.failed,
        },
        "issue": {"title": title, "body": body},
    }


def _section(section: Section) -> dict:
    return {
        "name": section.name,
        "title": section.title,
        "seconds": round(section.seconds, 2),
        "lines": [asdict(line) for line in section.lines],
        "tables": [
            {
                **{key: getattr(table, key) for key in ("name", "title", "unit", "note")},
                "columns": list(table.columns),
                "rows": [
                    {"name": name, "values": list(values)} for name, values in table.rows.items()
                ],
            }
            for table in section.tables
        ],
    }


def write(path: Path, exam: Examination, verdict: MachineVerdict) -> None:
    """Write the object, whole or not at all."""
    text = json.dumps(document(exam, verdict), indent=2, allow_nan=False) + "\n"
    write_whole(path, text, clean=True)
