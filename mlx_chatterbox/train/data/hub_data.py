"""Reads Hugging Face data sets with the package `datasets`, which is an extra; audio folders with
metadata are read without it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from ...errors import DataError
from .columns import AUDIO_NAMES, Columns, by_name, plain
from .item import ONE_SPEAKER, Item, Recording
from .json_lists import json_items
from .recordings import Recordings
from .tables import table_items

_METADATA = ("metadata.csv", "metadata.tsv", "metadata.jsonl")
# Names of folders that `datasets` takes for splits.
_SPLITS = {
    "train": re.compile(r"train(ing)?", re.I),
    "validation": re.compile(r"val(id(ation)?)?|dev|eval(uation)?", re.I),
    "test": re.compile(r"test(ing)?", re.I),
}


def hub_items(dataset, notes: list[str]) -> Iterator[Item]:
    """Yield the items of `hf_dataset`: a data set of the hub or on disk.

    Audio is not decoded by the package `datasets`, whose decoder needs PyTorch, but in the same way
    as files.

    Raises:
        DataError: `datasets` is needed and missing, the data set cannot be loaded, or its columns
            are not known.
    """
    parts = {"train": dataset.train_split_name or "train"}
    if dataset.eval_split_name:
        parts["eval"] = dataset.eval_split_name
    for part, split in parts.items():
        metadata = _metadata_of(dataset, split)
        if metadata is None:
            items = _from_package(dataset, split, notes)
        else:
            items = _from_folder(dataset, metadata, split, notes)
        for item in items:
            # Without an evaluation split, evaluation clips are taken from the training split.
            yield replace(item, part=part if len(parts) > 1 else None)


def _local(dataset) -> Path | None:
    return Path(dataset.dataset_path).expanduser() if dataset.dataset_path else None


def _metadata_of(dataset, split: str) -> Path | None:
    """Find the metadata of an audio folder, in the split's folder or at the top."""
    root = _local(dataset)
    if root is None:
        return None
    if root.is_file() and root.suffix.lower() != ".parquet":
        return root
    kind = _split_kind(split)
    inside = [p for data in (root, root / "data") if data.is_dir() for p in sorted(data.iterdir())]
    folders = [
        p for p in inside if p.is_dir() and kind is not None and _SPLITS[kind].fullmatch(p.name)
    ]
    named = [root / split, root / "data" / split]
    places = [*named, *folders, root]
    return next((p / name for p in places for name in _METADATA if (p / name).is_file()), None)


def _split_kind(name: str) -> str | None:
    return next((kind for kind, word in _SPLITS.items() if word.fullmatch(name)), None)


def _from_folder(dataset, metadata: Path, split: str, notes: list[str]) -> Iterator[Item]:
    """Yield the items of an audio folder, except those in the folders of other splits."""
    table = replace(dataset, dataset_path=str(metadata))
    table.saved = dataset.saved
    if plain(dataset.audio_column_name or "") == "audio":
        # `datasets` calls this column "audio", the table itself "file_name".
        table.audio_column_name = None
    read = json_items if metadata.suffix.lower() in (".jsonl", ".json", ".ndjson") else table_items
    others = 0
    for item in read(table, notes):
        path = item.audio
        inside = (
            path.relative_to(metadata.parent).parts[:-1]
            if isinstance(path, Path) and path.is_relative_to(metadata.parent)
            else ()
        )
        kinds = {kind for name in inside if (kind := _split_kind(name)) is not None}
        if kinds and _split_kind(split) not in kinds:
            others += 1
        else:
            yield item
    if others:
        notes.append(f"{metadata.name}: {others} clips are in the folders of other splits")


def _from_package(dataset, split: str, notes: list[str]) -> Iterator[Item]:
    try:
        import datasets
    except ImportError:
        raise DataError(
            f"dataset_type {dataset.dataset_type} needs the package datasets: "
            "pip install 'mlx-chatterbox[datasets]'."
        ) from None
    rows = _load_split(datasets, dataset, split)
    yield from _rows(datasets, dataset, rows, split, notes)


def _load_split(datasets, dataset, split: str):
    local = _local(dataset)
    try:
        if local is not None and any(
            (local / name).is_file() for name in ("dataset_dict.json", "state.json")
        ):
            saved = datasets.load_from_disk(str(local))
            return saved[split] if isinstance(saved, dict) else saved
        if local is not None and local.is_file():
            return datasets.load_dataset("parquet", data_files={split: str(local)}, split=split)
        options: dict[str, Any] = {"split": split}
        if dataset.trust_remote_code:
            options["trust_remote_code"] = True
        if dataset.use_auth_token:
            options["token"] = dataset.use_auth_token
        if dataset.ignore_verifications:
            options["verification_mode"] = "no_checks"
        name = dataset.dataset_name or str(local or "")
        return datasets.load_dataset(name, dataset.dataset_config_name, **options)
    except Exception as error:  # the package's back ends may raise anything
        # The outer error is often a general one; the cause is what went wrong.
        cause = error.__cause__ or error
        hint = ""
        if isinstance(cause, ImportError):
            # `datasets` converts folders of recordings to tables, for which it needs PyTorch.
            hint = " Or download it (hf download --repo-type dataset) and use metadata_csv."
        raise DataError(
            f"the data set {dataset.dataset_name or local}, split {split}, cannot be loaded: "
            f"{type(cause).__name__}: {' '.join(str(cause).split())[:300]}{hint}"
        ) from None


def _rows(datasets, dataset, rows, split: str, notes: list[str]) -> Iterator[Item]:
    features = getattr(rows, "features", None) or {}
    columns = _columns(dataset, rows, features, split)
    notes.append(f"split {split}: {columns}")
    audio = columns.audio
    rows = rows.cast_column(audio, datasets.Audio(decode=False))
    # Audio is not read before the clip is.
    described = rows.remove_columns([audio])
    local = _local(dataset)
    folder = None if local is None else local if local.is_dir() else local.parent
    recordings = None if folder is None else Recordings(folder)
    for index, row in enumerate(described):
        texts = [row[name] for name in columns.text if row[name] is not None]
        text = next((text for text in texts if str(text).strip()), texts[0] if texts else None)
        speaker = _label(row, columns.speaker, features)
        yield Item(
            id=f"{split}/{index:07d}",
            audio=Recording(f"{split}/{index:07d}", _fetcher(rows, index, audio, recordings)),
            text=None if text is None else str(text),
            speaker=speaker or ONE_SPEAKER,
            language=_label(row, columns.language, features) or dataset.language,
            where=f"row {index} of {split}",
        )


def _columns(dataset, rows, features, split: str) -> Columns:
    """Choose the columns to read; recordings are also found by the column's type."""
    names = list(rows.column_names)
    kinds = [name for name in names if type(features.get(name)).__name__ == "Audio"]
    audio = kinds if len(kinds) == 1 else [name for name in names if plain(name) == "audio"]
    others = {name for some in AUDIO_NAMES for name in some}
    if audio and not dataset.audio_column_name:
        names = [name for name in names if name in audio or plain(name) not in others]
        if plain(audio[0]) not in others:
            dataset = replace(dataset, audio_column_name=audio[0])

    def values(name: str) -> list[str]:
        plain_rows = rows.remove_columns(kinds)
        return [str(row[name]) for row in islice(plain_rows, 400)] if name not in kinds else [name]

    return by_name(names, dataset, f"split {split}", values)


def _label(row: dict, column: str | None, features) -> str | None:
    """Return a speaker or language as text, also where the data set stores a class number."""
    if column is None or row[column] is None:
        return None
    names = getattr(features.get(column), "names", None)
    return names[row[column]] if names and isinstance(row[column], int) else str(row[column])


def _fetcher(rows, index: int, column: str, recordings: Recordings | None) -> Callable[[], Any]:
    def fetch():
        value = rows[index][column]
        if not isinstance(value, dict):
            return value
        if value.get("array") is not None:
            return value["array"], value["sampling_rate"]
        path = value.get("path")
        if value.get("bytes") or not path or recordings is None or Path(path).is_file():
            return value.get("bytes") or path
        recording = recordings.find(path)
        return path if recording is None else recording.path

    return fetch
