"""Clips listed in a table, or in JSON: one line a clip, its recording beside the list."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import DataError
from .item import (
    AUDIO_ENDINGS,
    AUDIO_NAMES,
    LANGUAGE_NAMES,
    ONE_SPEAKER,
    SPEAKER_NAMES,
    TEXT_NAMES,
    Item,
    named,
    path_of,
    read_text,
)

# Folders beside a table in which its recordings may be.
_AUDIO_FOLDERS = ("", "wavs", "wav", "audio", "clips")
_TABLE_NAMES = ("metadata.csv", "train.csv", "metadata.tsv", "train.tsv", "metadata.txt")
_JSON_NAMES = ("metadata.jsonl", "train.jsonl", "metadata.json", "train.json", "manifest.json")


def _only_file(root: Path, names: Sequence[str], endings: tuple[str, ...]) -> Path:
    """The table to read: the path itself, or in a folder the well-known or only one."""
    if root.is_file():
        return root
    for name in names:
        if (root / name).is_file():
            return root / name
    found = sorted(path for path in root.iterdir() if path.suffix.lower() in endings)
    if len(found) == 1:
        return found[0]
    what = "none" if not found else ", ".join(path.name for path in found[:4])
    raise DataError(
        f"{root} has no {names[0]}, and of {'/'.join(endings)} it has {what}: "
        "name the file by dataset_path."
    )


def delimiter_of(first_line: str) -> str:
    """`|` if the first line has one, else tab, else `;` if there are more of them than commas, else
    comma."""
    for delimiter in ("|", "\t"):
        if delimiter in first_line:
            return delimiter
    return ";" if first_line.count(";") > first_line.count(",") else ","


def table_items(dataset) -> Iterator[Item]:
    """`metadata_csv`: a table with a header, or LJSpeech's `id|text[|normalised text]` without.

    With commas and semicolons, quotes are those of RFC 4180 (a quoted cell may hold delimiters and
    line ends); with `|` and tabs, quotes are plain characters, as LJSpeech and Common Voice have
    them. Only tables with `|` or tabs may lack the header; their third column, if they have one,
    is then the text in words, and taken instead of the second.
    """
    path = _only_file(path_of(dataset), _TABLE_NAMES, (".csv", ".tsv", ".txt", ".psv"))
    content = read_text(path)
    first = next((line for line in content.splitlines() if line.strip()), "")
    delimiter = delimiter_of(first)
    rows = list(_rows_of(path, content, delimiter))
    if not rows:
        return
    columns = _Columns.of_header([cell.strip() for cell in rows[0][1]], dataset)
    if columns is not None:
        rows = rows[1:]
    elif delimiter in "|\t" and len(rows[0][1]) > 1:
        columns = _Columns(audio=0, text=1, spoken=2)
        _check_spoken(path, [row for _, row in rows])
    else:
        raise DataError(
            f"{path}:{rows[0][0]}: the header ({first.strip()[:80]}) has no column "
            f"{dataset.audio_column_name} or no {dataset.text_column_name}; name them by "
            "audio_column_name and text_column_name."
        )
    for line, row in rows:
        yield columns.item(row, path, f"{path}:{line}", dataset)


def _rows_of(path: Path, content: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """(line, cells) of the rows that are not blank."""
    quoting = csv.QUOTE_NONE if delimiter in "|\t" else csv.QUOTE_MINIMAL
    source = io.StringIO(content, newline="")
    reader = csv.reader(source, delimiter=delimiter, quoting=quoting, strict=True)
    before = 0
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                yield before + 1, row
            before = reader.line_num
    except csv.Error as error:
        raise DataError(
            f"{path}:{before + 1} cannot be read: {error}; a quote inside a quoted cell is written "
            "twice, and every cell that begins with one ends with one."
        ) from None


def _check_spoken(path: Path, rows: list[list[str]]) -> None:
    """Raise DataError if the third column cannot be the second one in words: a speaker's name."""
    both = [row for row in rows if len(row) > 2 and row[2].strip()]
    words = [sum(len(row[column].split()) for row in both) for column in (1, 2)]
    if words[1] < 0.5 * words[0]:
        raise DataError(
            f"{path}: without a header the third column is the text in words, and this one is "
            "not: give the file a header, such as audio|text|speaker."
        )


@dataclass(frozen=True)
class _Columns:
    """Positions of the columns; `spoken` is LJSpeech's normalised text, better where it is."""

    audio: int
    text: int
    speaker: int | None = None
    language: int | None = None
    spoken: int | None = None

    @classmethod
    def of_header(cls, header: list[str], dataset) -> _Columns | None:
        names = {name.lower(): index for index, name in reversed(list(enumerate(header)))}
        audio = named(names, dataset.audio_column_name, AUDIO_NAMES)
        text = named(names, dataset.text_column_name, TEXT_NAMES)
        if audio is None or text is None:
            return None
        speaker = named(names, dataset.speaker_column_name, SPEAKER_NAMES)
        language = named(names, dataset.language_column_name, LANGUAGE_NAMES)
        return cls(audio, text, speaker, language)

    def item(self, row: list[str], path: Path, where: str, dataset) -> Item:
        def cell(index: int | None) -> str | None:
            return row[index].strip() if index is not None and index < len(row) else None

        return _listed(
            path,
            where,
            dataset,
            audio=cell(self.audio),
            text=cell(self.spoken) or cell(self.text),
            speaker=cell(self.speaker),
            language=cell(self.language),
        )


def _listed(
    table: Path,
    where: str,
    dataset,
    audio: str | None,
    text: str | None,
    speaker: str | None,
    language: str | None,
) -> Item:
    """An item of a table or of JSON, whose recording is found beside it."""
    if not audio:
        return Item(id=where.rsplit("/", 1)[-1], audio=None, text=text, where=where)
    name = audio.replace("\\", "/")
    path = _find_recording(table.parent, name)
    known_ending = Path(name).suffix.lower() in AUDIO_ENDINGS
    return Item(
        id=name[: -len(Path(name).suffix)] if known_ending else name,
        audio=path,
        text=text,
        speaker=speaker or ONE_SPEAKER,
        language=language or dataset.language,
        where=where,
    )


def _find_recording(folder: Path, name: str) -> Path:
    """The file that a table's name means; one that is not there if none is."""
    for subfolder in _AUDIO_FOLDERS:
        base = folder / subfolder / name
        if base.is_file():
            return base
        if base.suffix.lower() not in AUDIO_ENDINGS:
            for ending in AUDIO_ENDINGS:
                # Not `with_suffix`: in "LJ001.0001" the dot is no ending.
                if (candidate := base.with_name(base.name + ending)).is_file():
                    return candidate
    return folder / name


def json_items(dataset) -> Iterator[Item]:
    """`metadata_json`, `jsonl`: one object a line, or an array of objects."""
    path = _only_file(path_of(dataset), _JSON_NAMES, (".jsonl", ".json", ".ndjson"))
    for where, record in _records(path):
        if isinstance(record, dict):
            yield _of_record(record, path, where, dataset)
        else:
            name = where.rsplit("/", 1)[-1]
            yield Item(id=name, audio=None, text=None, where=where, fault="no JSON object")


def _records(path: Path) -> Iterator[tuple[str, Any]]:
    """(file and line or position, value); None for a line that is no JSON."""
    content = read_text(path)
    if content.lstrip().startswith("["):
        try:
            values = json.loads(content)
        except ValueError as error:
            raise DataError(f"{path} is no JSON: {error}.") from None
        yield from ((f"{path}:item {i}", value) for i, value in enumerate(values, start=1))
        return
    # Not splitlines(), which also splits at U+2028 inside a string.
    for number, line in enumerate(content.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError:
            value = None
        yield f"{path}:{number}", value


def _of_record(record: dict, path: Path, where: str, dataset) -> Item:
    names = {str(name).lower(): value for name, value in record.items()}
    values = {
        "audio": named(names, dataset.audio_column_name, AUDIO_NAMES),
        "text": named(names, dataset.text_column_name, TEXT_NAMES),
        "speaker": named(names, dataset.speaker_column_name, SPEAKER_NAMES),
        "language": named(names, dataset.language_column_name, LANGUAGE_NAMES),
    }
    if isinstance(values["audio"], dict):  # Hugging Face's own form: {"path": ..., ...}
        values["audio"] = values["audio"].get("path")
    texts = {key: None if value is None else str(value) for key, value in values.items()}
    return _listed(path, where, dataset, **texts)
