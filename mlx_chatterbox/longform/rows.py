"""What a batch is made of: the rows of a CSV file, or the texts of a folder."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..audio.files import check_output
from ..errors import AudioError, ChatterboxError, SettingError, TextError
from .plan import Document
from .readers import ENDINGS, read_document
from .split import plan_text

COLUMNS = ("text", "voice", "language", "output")
_LONGEST_CELL = 1 << 27


@dataclass(frozen=True)
class Row:
    """One output of a batch.

    Attributes:
        number: of the row, from 1, not counting the header.
        text: to speak, or a file with it.
        output: below the folder of outputs.
        problem: what is wrong with it; "" if nothing is so far.
    """

    number: int
    text: str | Path
    voice: Path | None
    language: str | None
    output: str
    problem: str = ""

    def document(self, longest: int) -> Document:
        """What is to be spoken, in pieces of at most `longest` characters.

        Raises:
            TextError: nothing to speak, or a file that cannot be read.
        """
        if isinstance(self.text, Path):
            return read_document(self.text, self.language, longest)
        return Document(pieces=plan_text(self.text, self.language, longest))


def read_rows(
    source: Path, output_dir: Path, voice: Path | None, language: str | None, ending: str
) -> list[Row]:
    """The rows of a CSV file or a folder, wrong ones with their problem.

    Args:
        voice, language: where a row says nothing.
        ending: of outputs that are not named, without the dot.

    Raises:
        TextError, SettingError: it cannot be read, or has no rows.
    """
    if source.is_dir():
        rows = list(_of_folder(source, output_dir, voice, language, ending))
        if not rows:
            raise SettingError(f"{source} has no texts: files ending in {', '.join(ENDINGS)}.")
    else:
        rows = list(_of_csv(source, voice, language, ending))
        if not rows:
            raise SettingError(f"{source} has no rows behind its header.")
    seen: dict[str, int] = {}
    return [_checked(row, output_dir, seen) for row in rows]


def _of_folder(folder, output_dir, voice, language, ending) -> Iterator[Row]:
    outputs = output_dir.resolve()
    found = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in ENDINGS
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and outputs not in path.resolve().parents
    )
    for number, path in enumerate(found, start=1):
        name = path.relative_to(folder).with_suffix(f".{ending}").as_posix()
        yield Row(number, path, voice, language, name)


def _of_csv(source, voice, language, ending) -> Iterator[Row]:
    csv.field_size_limit(_LONGEST_CELL)
    try:
        with source.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            header = [name.strip().lower() for name in reader.fieldnames or []]
            _check_header(source, header)
            reader.fieldnames = header
            for number, cells in enumerate(reader, start=1):
                yield _of_cells(number, cells, source.parent, voice, language, ending)
    except UnicodeDecodeError:
        raise TextError(f"{source} is no UTF-8 text: save it as UTF-8.") from None
    except csv.Error as error:
        raise TextError(f"{source}, line {reader.line_num}: no CSV ({error}).") from None
    except OSError as error:
        raise TextError(f"{source} cannot be read: {error.strerror}.") from None


def _check_header(source: Path, header: list[str]) -> None:
    if "text" not in header:
        raise TextError(
            f"{source} has no column 'text': its first line must be a header with text, and if "
            "wanted voice, language, output."
        )
    unknown = [name for name in header if name not in COLUMNS]
    if unknown or len(set(header)) < len(header):
        raise TextError(
            f"{source}: columns are {', '.join(COLUMNS)}, each once; got {', '.join(header)}."
        )


def _of_cells(number, cells, folder, voice, language, ending) -> Row:
    too_many = cells.pop(None, None)
    given = {name: (value or "").strip() for name, value in cells.items()}
    if given.get("voice"):
        voice = folder / given["voice"]
    problem = "more cells than the header has: quote texts with commas" if too_many else ""
    return Row(
        number,
        given["text"],
        voice,
        given.get("language") or language,
        given.get("output") or f"{number:04d}.{ending}",
        problem,
    )


def _checked(row: Row, output_dir: Path, seen: dict[str, int]) -> Row:
    """The row, with what is wrong with its text or its output."""
    problem = row.problem or _problem(row, output_dir, seen)
    return Row(row.number, row.text, row.voice, row.language, row.output, problem)


def _problem(row: Row, output_dir: Path, seen: dict[str, int]) -> str:
    name = PurePosixPath(row.output)
    if name.is_absolute() or ".." in name.parts or "\\" in row.output:
        return f"output {row.output} is not below the folder of outputs"
    same = seen.setdefault(str(name).casefold(), row.number)
    if same != row.number:
        return f"output {row.output} is row {same}'s too"
    if isinstance(row.text, str) and not row.text:
        return "there is no text to speak"
    if row.voice is not None and not row.voice.is_file():
        return f"the voice {row.voice} does not exist"
    try:
        path = output_dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        check_output(path)
    except (AudioError, OSError) as error:
        return one_line(error)
    return ""


def one_line(error: ChatterboxError | OSError) -> str:
    """An error's message, for a table."""
    return " ".join(str(error).split()).rstrip(".")
