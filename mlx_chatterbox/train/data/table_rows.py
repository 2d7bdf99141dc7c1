"""Splits a table's text into rows of cells: separators, quotes, line numbers, surplus cells."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ...errors import DataError

SEPARATORS = ("|", "\t", ";", ",")
SEPARATOR_NAMES = {"|": "'|'", "\t": "tab", ";": "';'", ",": "','"}
_EXCEL = re.compile(r'"?sep=(.)"?', re.IGNORECASE)


@dataclass(frozen=True)
class TableRow:
    """A row of a table.

    Attributes:
        line: its first line in the file, from 1.
        raw: its text in the file.
    """

    line: int
    cells: tuple[str, ...]
    raw: str = ""

    @property
    def tight(self) -> tuple[str, ...]:
        """The cells, divided only at separators without a space after them: a separator between
        words of a text has one, between cells it has none."""
        whole: list[str] = []
        separator = self._separator
        for cell in self.cells:
            if whole and cell.startswith(" "):
                whole[-1] += separator + cell
            else:
                whole.append(cell)
        return tuple(whole)

    @property
    def _separator(self) -> str:
        place = len(self.cells[0])
        return self.raw[place] if place < len(self.raw) else ","


@dataclass(frozen=True)
class Grid:
    """A table as divided by one separator.

    Attributes:
        rows: the rows that are not blank.
        fault: why it cannot be read to the end with this separator.
    """

    separator: str
    rows: tuple[TableRow, ...]
    fault: DataError | None = None


def grids(path: Path, content: str, excel: bool = False) -> list[Grid]:
    """Divide a table by every separator in its first row; returns the likeliest first.

    Args:
        excel: the file is written by Excel, which quotes cells with any separator.
    """
    lines = content.split("\n")
    first = next((i for i, line in enumerate(lines) if line.strip()), None)
    if first is None:
        return []
    named = _EXCEL.fullmatch(lines[first].strip(" "))
    if named:
        lines[first] = ""
        content = "\n".join(lines)
        first_line = next((line for line in lines if line.strip()), "")
        separators = [named.group(1)]
    else:
        first_line = lines[first]
        separators = [s for s in SEPARATORS if s in first_line]
        if "," in separators and ";" in separators:
            separators.sort(key=lambda s: s == ";" and first_line.count(",") > first_line.count(s))
    return [grid for s in separators if (grid := _grid(path, content, s, excel)).rows]


def _grid(path: Path, content: str, separator: str, excel: bool) -> Grid:
    quoted = _read(path, content, separator, quotes=True)
    if separator in ",;" or separator not in SEPARATORS:
        return quoted
    plain = _read(path, content, separator, quotes=False)
    # With "|" and tabs, quotes are plain characters in LJSpeech and others, but not in files of
    # Excel and pandas: the cells decide.
    return quoted if not quoted.fault and (excel or _proof(quoted, plain)) else plain


def _proof(quoted: Grid, plain: Grid) -> bool:
    """True if quotes enclose cells: they contain a separator or doubled quotes, and nearly all rows
    get the same length."""
    if quoted.rows == plain.rows or len(quoted.rows) > len(plain.rows):
        return False
    cells = [cell for row in quoted.rows for cell in row.cells]
    if any(quoted.separator in cell.partition("\n")[2] for cell in cells):
        return False  # a quote would enclose several rows
    length = Counter(len(row.cells) for row in quoted.rows).most_common(1)[0][0]
    fitting = sum(len(row.cells) == length for row in quoted.rows)
    hidden = any(quoted.separator in cell for cell in cells)
    doubled = any(re.search(r'\w""|""\w', row.raw) for row in quoted.rows)
    everywhere = all(row.raw.count('"') >= 2 for row in quoted.rows)
    return fitting >= 0.9 * len(quoted.rows) and (hidden or doubled or everywhere)


def _read(path: Path, content: str, separator: str, quotes: bool) -> Grid:
    lines = content.split("\n")
    source = io.StringIO(content, newline="")
    reader = csv.reader(
        source,
        delimiter=separator,
        quoting=csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE,
        strict=True,
    )
    rows, before = [], 0
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                raw = "\n".join(lines[before : reader.line_num])
                rows.append(TableRow(before + 1, tuple(cells), raw))
            before = reader.line_num
    except csv.Error as error:
        fault = DataError(
            f"{path}:{before + 1} cannot be read: {error}; a quote inside a quoted cell is written "
            "twice, and every cell that begins with one ends with one."
        )
        return Grid(separator, tuple(rows), fault)
    return Grid(separator, tuple(rows))


def expected_length(rows: Sequence[TableRow]) -> int:
    """Number of cells of a row in a table without a header."""
    tight = {len(row.tight) for row in rows}
    if len(tight) == 1 and tight != {1}:
        return tight.pop()
    counts = Counter(len(row.cells) for row in rows)
    most = max(counts.values())
    return max(length for length, count in counts.items() if count == most)


def fitted(
    grid: Grid, names: Sequence[str], path: Path, text: int
) -> tuple[list[TableRow], list[TableRow]]:
    """Join the cells of texts that contain the separator; returns all rows, and those joined.

    Cells are joined if a space follows the separator, there are no quotes, and no other reading is
    possible. Afterwards no row has more cells than there are names.

    Args:
        text: index of the column with the text.

    Raises:
        DataError: a row has too many cells, and it is not certain which belong together.
    """
    rows, separator = grid.rows, grid.separator
    width, joined = len(names), []
    spaced = sum(any(cell.startswith(" ") for cell in row.cells[1:width]) for row in rows)
    commas = separator in ",;"
    tables_have_spaces = spaced > 0.5 * len(rows)
    result = []
    for row in rows:
        cells = row.cells
        while len(cells) > width and not cells[-1].strip():
            cells = cells[:-1]
        cut = (
            commas and not tables_have_spaces and text + 1 < len(cells) <= width
            and cells[text + 1].startswith(" ") and not _quotes(row, separator)
        )  # fmt: skip
        if len(cells) > width or cut:
            tight = row.tight
            others = [cell for place, cell in enumerate(tight) if place != text]
            touched = any(cell not in row.cells for cell in others)
            if len(tight) != width or _quotes(row, separator) or touched:
                raise _too_many(row, names, path)
            cells = tight
            joined.append(row)
        result.append(replace(row, cells=cells))
    return result, joined


def _quotes(row: TableRow, separator: str) -> bool:
    """True if a cell begins with a quote."""
    return row.raw.startswith('"') or f'{separator}"' in row.raw


def _too_many(row: TableRow, names: Sequence[str], path: Path) -> DataError:
    what = f"{len(row.cells)} cells for {len(names)} columns"
    if len(row.cells) <= len(names):
        what = "the text seems to go on after a separator; cells are missing for the columns"
    return DataError(
        f"{path}:{row.line}: {what} ({', '.join(names)}): {row.raw.strip()[:80]!r}; put a text "
        'with the separator in it into quotes ("Well, yes."), or name the columns in their order '
        "by dataset.columns."
    )
