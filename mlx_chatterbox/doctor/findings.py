"""Results of checks: lines and tables of a section, each with its state."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from .private import anonymous

FIGURE = "figure"
RIGHT = "right"
FAILED = "failed"
NOT_APPLICABLE = "not applicable"
LEFT_OUT = "left out"
STATES = (FIGURE, RIGHT, FAILED, NOT_APPLICABLE, LEFT_OUT)

Value = float | int | str | bool | None


def number(value: float) -> str:
    """A number with three digits, and more only before the point."""
    if value == 0 or 0.01 <= abs(value) < 100_000:
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:.1e}"


def shown(value: Value, unit: str = "") -> str:
    """A value as people read it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = number(value) if isinstance(value, float) else str(value)
    return f"{text} {unit}".strip()


@dataclass(frozen=True)
class ReportLine:
    """One result.

    Attributes:
        name: for programs; unique in its section.
        title: for people.
        state: one of `STATES`; only a proof is right or failed.
        note: the reason, or the conditions of the measurement.
    """

    name: str
    title: str
    value: Value = None
    unit: str = ""
    state: str = FIGURE
    note: str = ""


@dataclass(frozen=True)
class Table:
    """Figures of one unit; a number that is not there is None."""

    name: str
    title: str
    unit: str
    columns: tuple[str, ...]
    rows: dict[str, tuple[float | None, ...]]
    note: str = ""


@dataclass
class Section:
    """One subject of the report.

    Attributes:
        seconds: how long its checks took.
    """

    name: str
    title: str
    lines: list[ReportLine] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    seconds: float = 0.0

    def figure(self, name: str, title: str, value: Value, unit: str = "", note: str = "") -> None:
        """Note something that is as it is; a number that is not finite is a failure."""
        if isinstance(value, float) and not math.isfinite(value):
            self._add(name, title, None, unit, FAILED, f"the result is {value}")
        else:
            self._add(name, title, value, unit, FIGURE, note)

    def proof(
        self, name: str, title: str, holds: bool, value: Value = None, unit: str = "", note=""
    ) -> None:
        """Note something that is either right or wrong."""
        if isinstance(value, float) and not math.isfinite(value):
            holds, value, note = False, None, f"the result is {value}; {note}".rstrip("; ")
        self._add(name, title, value, unit, RIGHT if holds else FAILED, note)

    def not_applicable(self, name: str, title: str, why: str) -> None:
        """Note what cannot be checked on such a machine."""
        self._add(name, title, None, "", NOT_APPLICABLE, why)

    def left_out(self, name: str, title: str, why: str) -> None:
        """Note what the budget does not allow."""
        self._add(name, title, None, "", LEFT_OUT, why)

    def table(
        self,
        name: str,
        title: str,
        unit: str,
        columns: Sequence[str],
        rows: Mapping[str, Sequence[float | None]],
        note: str = "",
    ) -> None:
        """Note figures of one kind for several cases in two directions."""
        finite = {
            row: tuple(None if v is None or not math.isfinite(v) else v for v in values)
            for row, values in rows.items()
        }
        self.tables.append(Table(name, title, unit, tuple(columns), finite, note))

    @contextmanager
    def guarded(self, name: str, title: str) -> Iterator[None]:
        """Turn an exception inside into a failed line, so that the other checks go on."""
        try:
            yield
        except Exception as error:
            text = anonymous(f"{type(error).__name__}: {error}")
            self._add(name, title, None, "", FAILED, " ".join(text.split())[:500])

    def _add(self, name, title, value, unit, state, note) -> None:
        self.lines.append(ReportLine(name, title, value, unit, state, note))

    def of_state(self, state: str) -> list[ReportLine]:
        """Its lines of one state."""
        return [line for line in self.lines if line.state == state]
