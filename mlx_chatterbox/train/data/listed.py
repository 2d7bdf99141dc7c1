"""Turns records of a table or of JSON into items, and finds their recordings."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from .columns import Columns
from .item import ONE_SPEAKER, Item, Recording
from .recordings import Recordings, without_ending

NO_SPEAKER = "no speaker named"


@dataclass(frozen=True)
class _ListEntry:
    """An item, the recording's name in the list, and whether the file has that name."""

    item: Item
    name: str
    as_named: bool
    has_speaker: bool


class Listed:
    """Collects the items of a list, so that contradictions between records are noticed."""

    def __init__(self, path: Path, dataset, recordings: Recordings, columns: Columns | None = None):
        self._path = path
        self._dataset = dataset
        self._recordings = recordings
        self._columns = columns
        self._entries: list[_ListEntry] = []

    def add(
        self,
        where: str,
        values: Mapping[str, str | None],
        fault: str | None = None,
        columns: Columns | None = None,
    ) -> None:
        """Add a record.

        Args:
            where: file and line.
            values: cells by the names of their columns.
            fault: why the record cannot be used, if so.
            columns: its columns, if they are not those of the whole list.
        """
        columns = columns or self._columns
        assert columns is not None, "columns are given for the list or for each record"

        def cell(name: str | None) -> str:
            return (values.get(name) or "").strip() if name else ""

        texts = [text for name in columns.text if (text := values.get(name)) is not None]
        text = next((text for text in texts if text.strip()), texts[0] if texts else None)
        name = cell(columns.audio)
        speaker, language = cell(columns.speaker), cell(columns.language)
        item = Item(
            id=_id_of(name) or where.rsplit("/", 1)[-1],
            audio=None,
            text=text,
            speaker=speaker or ONE_SPEAKER,
            language=language or self._dataset.language,
            where=where,
            fault=fault,
        )
        recording = self._recordings.find(name) if name else None
        if recording is not None:
            item = replace(item, audio=recording.path)
        else:
            missing = self._recordings.missing(name) if name else "no recording is named"
            item = replace(item, missing=missing)
        as_named = recording is None or recording.as_named
        self._entries.append(_ListEntry(item, name, as_named, bool(speaker)))

    def items(self, notes: list[str]) -> Iterator[Item]:
        """Yield all items in their order; notes for the user are added to `notes`."""
        claims: dict[Path | Recording, list[_ListEntry]] = defaultdict(list)
        for entry in self._entries:
            if entry.item.audio is not None:
                claims[entry.item.audio].append(entry)
        others = [entry for entry in self._entries if not entry.as_named]
        if others:
            first = others[0]
            notes.append(
                f"{self._path.name}: {len(others)} recordings were found under another name or in "
                f"another folder: {first.name} is {first.item.audio}"
            )
        speakers = any(entry.has_speaker for entry in self._entries)
        if not speakers:
            notes.append(f"{self._path.name}: no speakers are named: all clips are one speaker's")
        for entry in self._entries:
            item = entry.item
            if speakers and not entry.has_speaker:
                item = replace(item, remarks=((NO_SPEAKER, f"called {ONE_SPEAKER!r}"),))
            same = [] if item.audio is None else claims[item.audio]
            rival = next((e for e in same if e.name != entry.name), None)
            if rival is not None and not all(e.as_named for e in same):
                fault = f"{entry.name} and {rival.name} ({rival.item.where}) both lead to "
                item = replace(item, fault=f"{fault}{item.audio}")
            yield item


def _id_of(name: str) -> str:
    return without_ending(name.replace("\\", "/"))
