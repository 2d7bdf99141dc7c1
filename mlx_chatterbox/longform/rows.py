"""The rows of a batch, from a CSV file or the texts of a folder."""

from __future__ import annotations

import csv
import io
import os
import re
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from ..audio.formats import check_output, reason_of
from ..audio.stretch import checked_speed
from ..errors import AudioError, ChatterboxError, SettingError, TextError
from ..harmless import shortened
from ..runtime.apart import Named, is_same_file, is_within
from ..runtime.own_files import problem_of
from .outputs import subtitles_path
from .plan import Document
from .readers import ENDINGS, read_document
from .readers.plain import characters_of
from .split import document_of_text

COLUMNS = ("text", "voice", "language", "output", "speed")
# Characters that may separate cells, and their names.
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_SEPARATOR_LINE = re.compile(r"\s*\"?sep=([,;\t|])\"?[^\n]*\n", re.IGNORECASE)
_LONGEST_CELL = 1 << 27
# Most characters of a problem's message, since it may quote a cell.
_LONGEST_PROBLEM = 500
# Unicode's noncharacters, which stand in for zero characters.
_NONCHARACTERS = [chr(number) for number in range(0xFDD0, 0xFDF0)]


@dataclass(frozen=True)
class BatchRow:
    """One output of a batch.

    Attributes:
        number: of the row, from 1, not counting the header.
        text: the text to speak, or a file that has it.
        output: path relative to the folder of outputs.
        problem: why the row cannot be spoken; "" if no reason is known.
        speed: of this row; None: that of all rows.
    """

    number: int
    text: str | Path
    voice: Path | None
    language: str | None
    output: str
    problem: str = ""
    speed: float | None = None

    def document(self, longest: int, sdh: bool = True) -> Document:
        """Read the row's text in pieces of at most `longest` characters.

        Args:
            sdh: for subtitles, as in `read_document`.

        Raises:
            TextError: there is nothing to speak, or a file cannot be read.
        """
        if isinstance(self.text, Path):
            return read_document(self.text, self.language, longest, sdh)
        return document_of_text(self.text, self.language, longest)


def read_rows(
    source: Path,
    output_dir: Path,
    voice: Path | None,
    language: str | None,
    ending: str,
    subtitles: str | None = None,
    reserved: Sequence[Path] = (),
    read: Sequence[Named] = (),
) -> list[BatchRow]:
    """Read the rows of a CSV file or a folder, wrong ones with their problem.

    Args:
        voice, language: for rows that name none.
        ending: of outputs that are not named, without the dot.
        subtitles: "srt" or "vtt": written beside each output.
        reserved: files and folders that the batch itself writes.
        read: files that the batch reads besides its rows' texts and voices, with their names.

    Raises:
        TextError, SettingError: the source cannot be read, or has no rows.
    """
    if source.is_dir():
        if is_same_file(source, output_dir):
            raise SettingError(f"{source}: texts and outputs need separate folders.")
        rows = list(_folder_rows(source, output_dir, voice, language, ending))
        if not rows:
            raise SettingError(f"{source} has no texts: files ending in {', '.join(ENDINGS)}.")
    else:
        rows = list(_csv_rows(source, voice, language, ending))
        if not rows:
            raise SettingError(f"{source} has no rows after its header.")
    checks = _Checks(output_dir, subtitles, reserved, [*read, *_read_by(rows)])
    return [checks.row(row) for row in rows]


def _read_by(rows: Sequence[BatchRow]) -> list[Named]:
    """List the files that rows read, with their names for messages."""
    voices = {row.voice: row.number for row in reversed(rows) if row.voice is not None}
    texts = [(row.text, row.number) for row in rows if isinstance(row.text, Path)]
    files: list[Named] = [
        (f"the voice {path} of row {number}", path) for path, number in voices.items()
    ]
    files += [(f"the text {path} of row {number}", path) for path, number in texts]
    return files


def _folder_rows(
    folder: Path, output_dir: Path, voice: Path | None, language: str | None, ending: str
) -> Iterator[BatchRow]:
    outputs = output_dir.resolve()
    texts = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in ENDINGS
        and not path.is_dir()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and outputs not in path.resolve().parents
    )
    for number, path in enumerate(texts, start=1):
        name = path.relative_to(folder).with_suffix(f".{ending}").as_posix()
        yield BatchRow(number, path, voice, language, name)


def _csv_rows(
    source: Path, voice: Path | None, language: str | None, ending: str
) -> Iterator[BatchRow]:
    csv.field_size_limit(_LONGEST_CELL)
    text, guessed = characters_of(source, language, zeros=True)
    for remark in guessed:
        warnings.warn(f"{source.name}: {remark}.", stacklevel=2)
    text, zero = _without_zeros(source, text)
    separator, text = _separator(source, text.lstrip("\n"))
    reader = csv.DictReader(io.StringIO(text), delimiter=separator)
    try:
        header = [name.strip().lower() for name in reader.fieldnames or []]
        # Unnamed columns get a name each, so that none replaces another.
        reader.fieldnames = [name or f" {at}" for at, name in enumerate(header)]
        for number, cells in enumerate(reader, start=1):
            if not any(map(str.strip, _flat(cells))):
                continue  # a row that was emptied in a spreadsheet
            yield _row_of_cells(
                number, cells, separator, zero, source.parent, voice, language, ending
            )
    except csv.Error as error:
        raise TextError(f"{source}, line {reader.line_num}: not valid CSV ({error}).") from None
    _check_quotes(source, text, separator)


def _without_zeros(source: Path, text: str) -> tuple[str, str]:
    """Replace the zero characters of a table, which `csv` rejects on some versions of Python.

    Only the rows that have one will fail.

    Returns:
        The text, and the character that stands for zero; "" if there are none.

    Raises:
        TextError: the first line has one, so that it is not a table.
    """
    if "\0" not in text:
        return text, ""
    if "\0" in text.partition("\n")[0]:
        raise TextError(f"{source} is not a text file: its first line has zero bytes.")
    zero = next((character for character in _NONCHARACTERS if character not in text), "")
    if not zero:
        raise TextError(f"{source} is not a text file: it has zero bytes.")
    return text.replace("\0", zero), zero


def _separator(source: Path, text: str) -> tuple[str, str]:
    """Find the separator of the cells: by Excel's line for it (`sep=;`), else by the header.

    Returns:
        The separator, and the text without Excel's line.

    Raises:
        TextError: the first line is not a header with any of `SEPARATORS`.
    """
    if match := _SEPARATOR_LINE.match(text):
        separator, text = match.group(1), text[match.end() :]
        _check_header(source, _header(text, separator))
        return separator, text
    headers = {separator: _header(text, separator) for separator in SEPARATORS}
    for separator, header in headers.items():
        if "text" in header and set(header) <= {*COLUMNS, ""}:
            _check_header(source, header)
            return separator, text
    # The separator that finds most names makes the best message.
    _check_header(source, max(headers.values(), key=lambda header: ("text" in header, len(header))))
    raise AssertionError("a wrong header passed its check")


def _flat(cells: dict) -> list[str]:
    """List all cells of a row, also those that the header has no name for."""
    return [*filter(None, (v for k, v in cells.items() if k is not None)), *cells.get(None, [])]


def _header(text: str, separator: str) -> list[str]:
    first = next(csv.reader(io.StringIO(text), delimiter=separator), [])
    return [name.strip().lower() for name in first]


def _check_quotes(source: Path, text: str, separator: str) -> None:
    """Raise TextError if a quotation mark is never closed: the rows after it would be one text."""
    reader = csv.reader(io.StringIO(text), delimiter=separator, strict=True)
    began = 1
    try:
        for _ in reader:
            began = reader.line_num + 1
    except csv.Error as error:
        if "unexpected end" in str(error):
            raise TextError(
                f"{source}, line {began}: a quotation mark is opened and never closed."
            ) from None


def _check_header(source: Path, header: list[str]) -> None:
    if "text" not in header:
        raise TextError(
            f"{source} has no column 'text': its first line must be a header with text, and "
            "optionally voice, language, output, speed, separated by commas, semicolons, tabs or "
            "bars."
        )
    # Spreadsheets add columns without a name; if one has content, its row is reported.
    named = [name for name in header if name]
    unknown = [name for name in named if name not in COLUMNS]
    if unknown or len(set(named)) < len(named):
        shown = " ".join(", ".join(named).split())
        raise TextError(
            f"{source}: columns are {', '.join(COLUMNS)}, each once; got {shortened(shown)}."
        )


def _row_of_cells(
    number: int,
    cells: dict[Any, Any],
    separator: str,
    zero: str,
    folder: Path,
    voice: Path | None,
    language: str | None,
    ending: str,
) -> BatchRow:
    """Make a row of the cells that `csv.DictReader` gives by column.

    Args:
        zero: the character that stands for zero characters; "" for none.
        folder: the folder that voices are relative to.
        voice, language, ending: for rows that name none.
    """
    unnamed = [cells.pop(name) for name in [*cells] if (name or "x").startswith(" ")]
    if any(map(str.strip, filter(None, unnamed))):
        cells[None] = unnamed
    problem = _cell_problem(cells, separator)
    cells.pop(None, None)
    with_zero = [name for name, value in cells.items() if zero and zero in (value or "")]
    if with_zero:
        problem = problem or f"there is a zero character in its {' and '.join(with_zero)}"
        shown = "\N{SYMBOL FOR NULL}"
        cells = {name: (value or "").replace(zero, shown) for name, value in cells.items()}
    values = {name: (value or "").strip() for name, value in cells.items()}
    if values.get("voice"):
        voice = folder / values["voice"]
    speed = None
    if values.get("speed"):
        try:
            speed = checked_speed(values["speed"].replace(",", "."))
        except SettingError as error:
            problem = problem or message_of(error)
    return BatchRow(
        number,
        values["text"],
        voice,
        values.get("language") or language,
        values.get("output") or f"{number:04d}.{ending}",
        problem,
        speed,
    )


def _cell_problem(cells: dict, separator: str) -> str:
    """Describe a wrong number of cells in a row, with the probable cause; "" if it is right."""
    if cells.get(None):
        return f"more cells than the header has: quote texts with {SEPARATORS[separator]}"
    first, *others = cells.values()
    for other, name in SEPARATORS.items():
        alone = others and not any(others) and other != separator
        if alone and (first or "").count(other) == len(others):
            return f"cells separated by {name}, but the header's by {SEPARATORS[separator]}"
    return ""


class _Checks:
    """Checks of the texts and outputs of rows, one row after the other."""

    def __init__(
        self,
        output_dir: Path,
        subtitles: str | None,
        reserved: Sequence[Path],
        read: Sequence[Named],
    ):
        self._folder, self._subtitles = output_dir, subtitles
        self._reserved = reserved
        # By device and inode, so that thousands of rows need not be compared with each other.
        self._read: dict[tuple[int, int] | None, str] = {
            key: name
            for name, path in read
            if path is not None and (key := _file_id(path)) is not None
        }
        self._seen: dict[str, int] = {}

    def row(self, row: BatchRow) -> BatchRow:
        """Return the row with its problem."""
        try:
            problem = row.problem or self._problem(row)
        except (OSError, ValueError) as error:  # a name is too long, or has zero characters
            problem = f"output {row.output} cannot be written: {reason_of(error)}"
        return replace(row, problem=shortened(problem, _LONGEST_PROBLEM))

    def _problem(self, row: BatchRow) -> str:
        name = PurePosixPath(row.output)
        if name.is_absolute() or ".." in name.parts or "\\" in row.output:
            return f"output {row.output} is outside the folder of outputs: not allowed"
        if isinstance(row.text, str) and not row.text:
            return "there is no text to speak"
        if row.voice is not None and (wrong := problem_of(row.voice)):
            return f"the voice {row.voice} {wrong}"
        path = self._folder / name
        if not is_within(path.parent, self._folder):
            return f"output {row.output} leaves the folder of outputs through a link: not allowed"
        written = [path]
        if self._subtitles is not None:
            written.append(subtitles_path(path, self._subtitles))
        for target in written:
            if problem := self._clash(row, target):
                return problem
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            check_output(path)
        except (AudioError, OSError) as error:
            return message_of(error)
        return ""

    def _clash(self, row: BatchRow, path: Path) -> str:
        """Describe another use of a path that a row would write; "" if there is none."""
        shown = path.relative_to(self._folder).as_posix()
        key = unicodedata.normalize("NFC", shown).casefold()
        same = self._seen.setdefault(key, row.number)
        if same != row.number:
            return f"output {shown} is also the output of row {same}"
        for taken in self._reserved:
            if is_within(path, taken):
                return f"output {shown} is not allowed: the batch itself writes {taken.name} there"
        read = self._read.get(_file_id(path))
        if read is not None:
            return f"output {shown} is {read}, which would be overwritten"
        if path.is_dir():
            return f"output {shown} is a folder"
        return ""


def _file_id(path: Path) -> tuple[int, int] | None:
    """The device and inode of a file, links followed; None if it does not exist."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def message_of(error: ChatterboxError | OSError) -> str:
    """The message of an error in one line without its full stop, for a table."""
    return " ".join(str(error).split()).rstrip(".")
