"""Reads clips from JSON: an object a line, an array, an object of clips, or one of columns."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...checks.plain import shown
from ...errors import DataError
from .columns import Columns, by_name, roles_of
from .item import Item, path_of
from .listed import Listed
from .recordings import Recordings
from .tables import content_of, list_file

_JSON_NAMES = ("metadata.jsonl", "train.jsonl", "metadata.json", "train.json", "manifest.json")
# The key under which a record gets its id, from an object {"id": record, ...}.
_KEY = "key"


def json_items(dataset, notes: list[str]) -> Iterator[Item]:
    """Yield the items of `metadata_json` and `jsonl`.

    Raises:
        DataError: it is no JSON, holds no list of clips, or its keys are not known.
    """
    root = path_of(dataset)
    path = list_file(root, _JSON_NAMES, (".jsonl", ".json", ".ndjson"), notes)
    content, _ = content_of(path, dataset)
    records = list(_records(path, content, dataset))
    listed = Listed(path, dataset, Recordings(path.parent))
    known: dict[tuple[str, ...], Columns] = {}
    objects = [record for _, record in records if isinstance(record, dict)]
    _check_wanted(path, objects, dataset)
    for where, record in records:
        if not isinstance(record, dict):
            # Any columns will do, as nothing is read.
            listed.add(where, {}, "no JSON object", Columns("audio", ("text",)))
            continue
        names = tuple(str(name) for name in record)
        if names not in known:
            known[names] = _columns(names, dataset, where, objects)
        values, fault = _cells(record, known[names])
        listed.add(where, values, fault or _segment(record), known[names])
    if known:
        first = next(iter(known.values()))
        notes.append(f"{path.name}: {first}" + (", and others" if len(known) > 1 else ""))
    yield from listed.items(notes)


def _check_wanted(path: Path, objects: list[dict], dataset) -> None:
    """Raise DataError if a key that the user names is in no record."""
    names = tuple(dict.fromkeys(str(name) for record in objects for name in record))
    if names:
        by_name(names, dataset, f"{path}: the keys", lambda name: [name], lambda a, b: True)


def _columns(names: tuple[str, ...], dataset, where: str, objects: list[dict]) -> Columns:
    """Choose the keys to read; a record may lack recording or text, which is reported later."""
    roles = roles_of(names, dataset)
    if not (roles["audio"] and roles["text"]):
        audio, text = (roles[role][:1] or [role] for role in ("audio", "text"))
        return Columns(audio[0], tuple(text))
    alike = [record for record in objects if tuple(map(str, record)) == names]
    return by_name(
        names, _Lenient(dataset), where,
        lambda name: [str(_scalar(record.get(name))) for record in alike],
    )  # fmt: skip


class _Lenient:
    """The dataset section as if its column names were optional, for records that lack a key."""

    def __init__(self, dataset):
        self._dataset = dataset
        self.saved = True

    def __getattr__(self, name: str):
        return getattr(self._dataset, name)


def _scalar(value: Any) -> Any:
    # Hugging Face's form of audio: {"path": ..., ...}.
    return value.get("path") if isinstance(value, dict) else value


def _cells(record: dict, columns: Columns) -> tuple[dict[str, str | None], str | None]:
    """Return the values as text, and an error or None."""
    cells: dict[str, str | None] = {}
    wanted = (columns.audio, *columns.text, columns.speaker, columns.language)
    for name in filter(None, wanted):
        value = _scalar(record.get(name)) if name == columns.audio else record.get(name)
        if isinstance(value, (list, dict)):
            return {}, f"{name} is a {'list' if isinstance(value, list) else 'section'}, not text"
        cells[name] = None if value is None else str(value)
    return cells, None


def _segment(record: dict) -> str | None:
    """Return an error for a record of a part of a recording (NeMo's offset), or None."""
    offset = record.get("offset")
    if isinstance(offset, (int, float)) and offset > 0:
        return f"offset {shown(offset)}: it is a part of a recording: cut it into its own file"
    return None


def _records(path: Path, content: str, dataset) -> Iterator[tuple[str, Any]]:
    """Yield (file and line or position, value); the value is None for a line that is no JSON."""
    try:
        whole = json.loads(content)
    except (ValueError, RecursionError) as error:
        yield from _lines(path, content, error)
        return
    if isinstance(whole, dict):
        yield from _of_object(path, whole, dataset)
    elif isinstance(whole, list):
        yield from ((f"{path}:item {i}", value) for i, value in enumerate(whole, start=1))
    else:
        raise DataError(f"{path} holds no list of clips.")


def _lines(path: Path, content: str, error: Exception) -> Iterator[tuple[str, Any]]:
    """Yield the values of JSON Lines; `error` is that of reading the file as one value."""
    # Not splitlines(), which also splits at U+2028 inside a string.
    lines = [(i, line) for i, line in enumerate(content.split("\n"), start=1) if line.strip()]
    values = []
    for number, line in lines:
        try:
            values.append((f"{path}:{number}", json.loads(line)))
        except (ValueError, RecursionError):
            values.append((f"{path}:{number}", None))
    if lines and not any(isinstance(value, dict) for _, value in values):
        hint = "" if content.lstrip()[0] in "[{" else "; for a table, dataset_type is metadata_csv"
        raise DataError(f"{path} is no JSON: {error}{hint}.") from None
    yield from values


def _of_object(path: Path, whole: dict, dataset) -> Iterator[tuple[str, Any]]:
    """Yield the records of an object: one record, clips by id, a list under a key, or columns."""
    lists = {k: v for k, v in whole.items() if isinstance(v, list) and v}
    records = {k: v for k, v in lists.items() if all(isinstance(value, dict) for value in v)}
    roles = roles_of(list(whole), dataset)
    if roles["audio"] and roles["text"] and not lists:
        yield f"{path}:1", whole
    elif roles["audio"] and roles["text"] and len({len(v) for v in lists.values()}) == 1:
        for i, cells in enumerate(zip(*lists.values(), strict=True), start=1):
            yield f"{path}:item {i}", dict(zip(lists, cells, strict=True))
    elif len(records) == 1:
        ((key, values),) = records.items()
        yield from ((f"{path}:{key} {i}", value) for i, value in enumerate(values, start=1))
    elif whole and all(isinstance(value, (dict, str)) for value in whole.values()):
        for key, value in whole.items():
            record = {"text": value} if isinstance(value, str) else value
            named = roles_of([str(name) for name in record], dataset)["audio"]
            yield f"{path}:{key}", record if named else {_KEY: key, **record}
    else:
        raise DataError(
            f"{path} is an object with the keys {', '.join(map(str, whole))[:100]}, none of which "
            "is known to hold the clips; write them as an array or as JSON Lines."
        )
