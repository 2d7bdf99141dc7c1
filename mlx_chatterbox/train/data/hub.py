"""Clips of a Hugging Face data set, by the package `datasets`, which is an extra."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ...errors import DataError
from .item import (
    AUDIO_NAMES,
    LANGUAGE_NAMES,
    ONE_SPEAKER,
    SPEAKER_NAMES,
    TEXT_NAMES,
    Item,
    Recording,
    named,
)


def hub_items(dataset) -> Iterator[Item]:
    """`hf_dataset`: a data set of the hub or on disk, by the package `datasets`.

    Audio is never decoded by that package (its decoder needs PyTorch), but read as files are.
    """
    try:
        import datasets
    except ImportError:
        raise DataError(
            f"dataset_type {dataset.dataset_type} needs the package datasets: "
            "pip install 'mlx-chatterbox[datasets]'."
        ) from None
    parts = {"train": dataset.train_split_name or "train"}
    if dataset.eval_split_name:
        parts["eval"] = dataset.eval_split_name
    for part, split in parts.items():
        rows = _load_split(datasets, dataset, split)
        for item in _rows(datasets, dataset, rows, split):
            # Without a split of its own for evaluation, one is taken from the training part.
            yield Item(**{**vars(item), "part": part if len(parts) > 1 else None})


def _load_split(datasets, dataset, split: str):
    local = Path(dataset.dataset_path).expanduser() if dataset.dataset_path else None
    try:
        if local is not None and any(
            (local / name).is_file() for name in ("dataset_dict.json", "state.json")
        ):
            saved = datasets.load_from_disk(str(local))
            return saved[split] if isinstance(saved, dict) else saved
        options: dict[str, Any] = {"split": split}
        if dataset.trust_remote_code:
            options["trust_remote_code"] = True
        if dataset.use_auth_token:
            options["token"] = dataset.use_auth_token
        if dataset.ignore_verifications:
            options["verification_mode"] = "no_checks"
        name = dataset.dataset_name or str(local or "")
        return datasets.load_dataset(name, dataset.dataset_config_name, **options)
    except Exception as error:  # the package raises whatever its back ends raise
        # It often wraps what went wrong in an error that only says that something did.
        cause = error.__cause__ or error
        hint = ""
        if isinstance(cause, ImportError):
            # Folders of recordings are not stored as a table yet, and making one wants PyTorch.
            hint = " Or download it (hf download --repo-type dataset) and use metadata_csv."
        raise DataError(
            f"the data set {dataset.dataset_name or local}, split {split}, cannot be loaded: "
            f"{type(cause).__name__}: {' '.join(str(cause).split())[:300]}{hint}"
        ) from None


def _rows(datasets, dataset, rows, split: str) -> Iterator[Item]:
    columns = {name.lower(): name for name in rows.column_names}
    audio = named(columns, dataset.audio_column_name, AUDIO_NAMES)
    text = named(columns, dataset.text_column_name, TEXT_NAMES)
    if audio is None or text is None:
        raise DataError(
            f"the data set has the columns {', '.join(rows.column_names)}, and no "
            f"{dataset.audio_column_name if audio is None else dataset.text_column_name}: name it "
            "by audio_column_name or text_column_name."
        )
    speaker = named(columns, dataset.speaker_column_name, SPEAKER_NAMES)
    language = named(columns, dataset.language_column_name, LANGUAGE_NAMES)
    rows = rows.cast_column(audio, datasets.Audio(decode=False))
    # The audio is left where it is until a clip is read.
    described = rows.remove_columns([audio])
    for index, row in enumerate(described):
        yield Item(
            id=f"{split}/{index:07d}",
            audio=Recording(f"{split}/{index:07d}", _fetcher(rows, index, audio)),
            text=None if row[text] is None else str(row[text]),
            speaker=str(row[speaker]) if speaker and row[speaker] is not None else ONE_SPEAKER,
            language=(row[language] if language else None) or dataset.language,
            where=f"row {index} of {split}",
        )


def _fetcher(rows, index: int, column: str) -> Callable[[], Any]:
    def fetch():
        value = rows[index][column]
        if isinstance(value, dict):
            if value.get("array") is not None:
                return value["array"], value["sampling_rate"]
            return value.get("bytes") or value.get("path")
        return value

    return fetch
