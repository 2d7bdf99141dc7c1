"""Reads clips from a table: one row a clip, its recording in the same folder or below.

Separator, header and columns are determined once (`_Table.of`) and reported. If they are not
certain, the table is refused with the line.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import DataError
from ...harmless import shortened
from .columns import Columns, by_name, plain, roles_of, wanted_names
from .encoding import decode, encoding_of, read_content
from .guessing import SAMPLE, UNUSED, guess, same_files, share_found
from .item import Item, path_of
from .listed import Listed
from .recordings import Recordings
from .table_rows import SEPARATOR_NAMES, Grid, TableRow, expected_length, fitted, grids

_TABLE_NAMES = ("metadata.csv", "train.csv", "metadata.tsv", "train.tsv", "metadata.txt")
_TABLE_ENDINGS = (".csv", ".tsv", ".txt", ".psv", ".list", ".lst")
# Files that are no text, by their first bytes.
_OTHER_FILES = {
    b"PK\x03\x04": "an Excel workbook or another archive: save the table as CSV (UTF-8)",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook: save the table as CSV (UTF-8)",
    b"PAR1": "a Parquet file: set dataset_type to hf_dataset",
    b"version https://git-lfs": "a Git LFS pointer, not the table: fetch it by `git lfs pull`",
    b"RIFF": "a recording; dataset_path is the table",
}
# Published data sets have up to about fifty.
MAX_COLUMNS = 500


def list_file(root: Path, names: Sequence[str], endings: tuple[str, ...], notes: list[str]) -> Path:
    """Return the list to read: a file itself; in a folder the one of a usual name, or the only one.

    Args:
        notes: gets a line if there are others, which are not read.
    """
    if root.is_file():
        return root
    files = sorted(p for p in root.iterdir() if p.is_file() and p.suffix.lower() in endings)
    files = [path for path in files if not path.name.startswith(".")]
    known = [root / name for name in names if (root / name).is_file()]
    if known or len(files) == 1:
        chosen = (known or files)[0]
        others = ", ".join(path.name for path in files if path != chosen)
        if others:
            notes.append(f"{chosen.name} is read; beside it, not read: {others[:200]}")
        return chosen
    what = "none" if not files else ", ".join(path.name for path in files[:4])
    raise DataError(
        f"{root} has no {names[0]}, and of {'/'.join(endings)} it has {what}: "
        "name the file by dataset_path."
    )


def content_of(path: Path, dataset) -> tuple[str, str]:
    """Read a list's text; returns it and its encoding.

    Raises:
        DataError: it is no text.
    """
    content = read_content(path)
    for beginning, what in _OTHER_FILES.items():
        if content.startswith(beginning):
            raise DataError(f"{path} is {what}.")
    text = decode(content, path, dataset.encoding)
    if "\0" in text:
        order = "be" if content.startswith(b"\0") else "le"
        raise DataError(
            f"{path} looks like UTF-16 without a byte order mark: set dataset.encoding to "
            f"utf-16-{order}, or save it as UTF-8."
        )
    return text, dataset.encoding or encoding_of(content)


def table_items(dataset, notes: list[str]) -> Iterator[Item]:
    """Yield the items of `metadata_csv`: a table, with or without a header.

    Raises:
        DataError: it cannot be read, or its columns are not certain.
    """
    path = list_file(path_of(dataset), _TABLE_NAMES, _TABLE_ENDINGS, notes)
    content, encoding = content_of(path, dataset)
    if content.lstrip().startswith(("{", "[{")):
        raise DataError(f"{path} is JSON: set dataset_type to metadata_json.")
    recordings = Recordings(path.parent)
    candidates = grids(path, content, excel=encoding.startswith("utf-16"))
    if not candidates:
        if content.strip():
            raise DataError(
                f"{path}:1: {content.strip()[:40]!r}: there is no '|', tab, ';' or ',' between "
                "cells: a table has a recording and a text in every line."
            )
        return
    widths = [max(len(grid.rows[0].cells), expected_length(grid.rows)) for grid in candidates]
    narrow = [grid for grid, n in zip(candidates, widths, strict=True) if n <= MAX_COLUMNS]
    if not narrow:
        raise DataError(
            f"{path}: its lines have {min(widths)} columns; at most {MAX_COLUMNS} are allowed."
        )
    table = _Table.of(path, narrow, dataset, recordings)
    rows, joined = fitted(table.grid, table.names, path, table.names.index(table.columns.text[0]))
    notes.append(f"{path.name}: {encoding}, {table}")
    if joined:
        notes.append(
            f"{path.name}: texts with separators outside quotes are read to their end: "
            f"{len(joined)}, the first in line {joined[0].line}"
        )
    listed = Listed(path, dataset, recordings, table.columns)
    for row in rows:
        listed.add(f"{path}:{row.line}", dict(zip(table.names, row.cells, strict=False)),
                   table.fault_of(row, recordings))  # fmt: skip
    yield from listed.items(notes)


@dataclass(frozen=True)
class _Table:
    """A table whose columns are known.

    Attributes:
        grid: the rows without the header.
        names: names of the columns.
        columns: the columns to read.
        header: description of the header, for the report.
    """

    path: Path
    grid: Grid
    names: list[str]
    columns: Columns
    header: str

    @classmethod
    def of(cls, path: Path, candidates: list[Grid], dataset, recordings: Recordings) -> _Table:
        """Determine the separator, the header and the columns.

        Raises:
            DataError: see `table_items`.
        """
        if dataset.columns:
            return cls._named(path, candidates, dataset, recordings)
        for complete in (True, False):
            for grid in candidates:
                if _is_header(grid.rows[0], dataset, recordings, complete):
                    return cls._with_header(path, grid, dataset, recordings)
        grid = _most_recordings(candidates, recordings)
        first = grid.rows[0]
        wanted = [name for name in wanted_names(dataset).values() if name]
        if (wanted and not dataset.saved) or _looks_like_header(grid, recordings):
            return cls._with_header(path, grid, dataset, recordings)
        return cls._without_header(path, grid, first, dataset, recordings)

    @classmethod
    def _with_header(cls, path, grid: Grid, dataset, recordings) -> _Table:
        first, rows = grid.rows[0], grid.rows[1:]
        names = [cell.strip().strip("\ufeff") for cell in first.cells]
        columns = by_name(names, dataset, f"{path}:{first.line}", _values(names, rows),
                          lambda a, b: same_files(a, b, recordings))  # fmt: skip
        if grid.fault:
            raise grid.fault
        header = f"header in line {first.line}"
        return cls(path, Grid(grid.separator, rows), names, columns, header)

    @classmethod
    def _named(cls, path, candidates: list[Grid], dataset, recordings) -> _Table:
        """Make a table with the names that the user gives for the columns, in their order."""
        names = [f"{UNUSED}{i}" if plain(name) in ("", UNUSED) else name
                 for i, name in enumerate(dataset.columns)]  # fmt: skip
        wide = [grid for grid in candidates if expected_length(grid.rows) >= len(names)]
        grid = _most_recordings(wide or candidates, recordings)
        first, rows = grid.rows[0], grid.rows
        if grid.fault:
            raise grid.fault
        if len(first.cells) < len(names):
            raise DataError(
                f"{path}:{first.line}: dataset.columns names {len(names)} columns, and this line "
                f"has {len(first.cells)}: {first.raw.strip()[:80]!r}."
            )
        if [plain(cell) for cell in first.cells] == [plain(name) for name in dataset.columns]:
            rows = rows[1:]
        columns = by_name(names, dataset, f"{path}: dataset.columns", _values(names, rows),
                          lambda a, b: same_files(a, b, recordings))  # fmt: skip
        return cls(path, Grid(grid.separator, rows), names, columns, "dataset.columns")

    @classmethod
    def _without_header(cls, path, grid: Grid, first: TableRow, dataset, recordings) -> _Table:
        if grid.fault:
            raise grid.fault
        width = expected_length(grid.rows)
        rows = [cells for row in grid.rows[:SAMPLE] if (cells := _of_length(row, width))]
        if width < 2 or not rows:
            raise DataError(
                f"{path}:{first.line}: no separator divides this table into a recording and a "
                f"text: {first.raw.strip()[:80]!r}."
            )
        names, certain = guess(rows, recordings)
        if not certain:
            example = shortened(", ".join(names), 200)
            line = shortened(grid.separator.join(names), 200)
            raise DataError(
                f"{path}:{first.line}: there is no header, and it is not certain which column is "
                f"which: {first.raw.strip()[:80]!r}; name them in their order by dataset.columns, "
                f"such as [{example}], or in a first line {line} (audio, text, speaker, language; "
                "_ is not read)."
            )
        unique = [f"{UNUSED}{i}" if name == UNUSED else name for i, name in enumerate(names)]
        text = tuple(name for name in ("normalized_text", "raw_text", "text") if name in names)
        columns = Columns(
            "audio",
            text,
            speaker="speaker" if "speaker" in names else None,
            language="language" if "language" in names else None,
        )
        shown = "no header: " + ", ".join("(not read)" if n == UNUSED else n for n in names)
        return cls(path, grid, unique, columns, shown)

    def fault_of(self, row: TableRow, recordings: Recordings) -> str | None:
        """Return why a row cannot be used (missing cells, another row in its quotes), or None."""
        missing = self.names[len(row.cells) :]
        text = self.columns.text
        needed = {self.columns.audio, self.columns.speaker, self.columns.language, text[-1]}
        if needed & set(missing):
            return f"{len(row.cells)} cells for {len(self.names)} columns"
        for cell in row.cells:
            for line in cell.split("\n")[1:]:
                name = line.split(self.grid.separator)[0]
                if self.grid.separator in line and recordings.find(name) is not None:
                    return f"another row ({name}) is inside its quotes: close them"
        return None

    def __str__(self) -> str:
        """Describe the table to the user: "separator '|', header in line 1, columns: ..."."""
        separator = SEPARATOR_NAMES.get(self.grid.separator, repr(self.grid.separator))
        columns = "" if self.header.startswith("no header: ") else f", {self.columns}"
        return f"separator {separator}, {self.header}{columns}"


def _of_length(row: TableRow, width: int) -> tuple[str, ...] | None:
    return next((cells for cells in (row.cells, row.tight) if len(cells) == width), None)


def _values(names: list[str], rows: Sequence[TableRow]):
    """Make the function that returns a column's cells in the first `SAMPLE` rows."""

    def values(name: str) -> list[str]:
        place = names.index(name)
        return [row.cells[place].strip() if place < len(row.cells) else "" for row in rows[:SAMPLE]]

    return values


def _is_header(row: TableRow, dataset, recordings: Recordings, complete: bool) -> bool:
    """True if a row names columns: recording and text, or one of them and no recording exists."""
    roles = roles_of([cell.strip() for cell in row.cells], dataset)
    if complete:
        return bool(roles["audio"] and roles["text"])
    if not any(roles.values()) or len(row.cells) < 2:
        return False
    return not any(recordings.find(cell) for cell in row.cells) and all(
        len(cell.split()) <= 3 for cell in row.cells
    )


def _looks_like_header(grid: Grid, recordings: Recordings) -> bool:
    """True if only the first row names no recording, and all its cells are words."""
    first, *rest = grid.rows
    if any(recordings.find(cell) for cell in first.cells) or not rest:
        return False
    others = [any(recordings.find(cell) for cell in row.cells) for row in rest[:SAMPLE]]
    return all(others) and all(
        cell.strip().replace("_", "").replace(" ", "").isalpha() for cell in first.cells
    )


def _most_recordings(candidates: list[Grid], recordings: Recordings) -> Grid:
    """Choose the table with the most existing recordings in a column; else the likeliest."""

    def share(grid: Grid) -> float:
        width = expected_length(grid.rows)
        rows = [cells for row in grid.rows[:SAMPLE] if (cells := _of_length(row, width))]
        if width < 2:
            return -1.0
        columns = zip(*rows, strict=True)
        shares = (share_found([cell.strip() for cell in column], recordings) for column in columns)
        return max(shares, default=0.0)

    return max(candidates, key=share)
