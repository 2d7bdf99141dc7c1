"""Where clips are listed: a folder, a table, JSON, a Hugging Face data set.

A source lists items, and judges none of them: what is wrong with an item is found by `check`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from ...errors import DataError
from .hub import hub_items
from .item import AUDIO_ENDINGS, ONE_SPEAKER, Item, path_of, read_text
from .tables import json_items, table_items


def items_of(dataset) -> list[Item]:
    """All items of the configured data set, in an order that is always the same.

    Args:
        dataset: the `dataset` section of the configuration.

    Raises:
        DataError: it cannot be found or read at all, or lacks the columns.
    """
    readers = {
        "wav_txt": folder_items,
        "metadata_csv": table_items,
        "metadata_json": json_items,
        "jsonl": json_items,
        "hf_dataset": hub_items,
        "huggingface": hub_items,
        "hf": hub_items,
    }
    if dataset.dataset_type not in readers:
        known = ", ".join(readers)
        raise DataError(f"dataset_type {dataset.dataset_type!r} is none of {known}.")
    items = _unique(readers[dataset.dataset_type](dataset))
    if not items:
        raise DataError(f"{dataset.dataset_path or dataset.dataset_name} lists no clips.")
    return items


def _unique(items: Iterator[Item]) -> list[Item]:
    """Items under ids of their own: a second "a" becomes "a#2"."""
    seen: dict[str, int] = {}
    result = []
    for item in items:
        count = seen[item.id] = seen.get(item.id, 0) + 1
        result.append(item if count == 1 else replace(item, id=f"{item.id}#{count}"))
    return result


def folder_items(dataset) -> Iterator[Item]:
    """`wav_txt`: recordings with a .txt of the same name beside them.

    The first subfolder is the speaker; recordings directly in the folder belong to one speaker.
    """
    root = path_of(dataset)
    if not root.is_dir():
        raise DataError(f"{root} is no folder; dataset_type wav_txt takes a folder (dataset_path).")
    files = [
        path
        for path in sorted(root.rglob("*"))
        if not any(part.startswith(".") for part in path.relative_to(root).parts) and path.is_file()
    ]
    recordings = [path for path in files if path.suffix.lower() in AUDIO_ENDINGS]
    texts = {path for path in files if path.suffix.lower() == ".txt"}
    stems = Counter(path.with_suffix("") for path in recordings)
    for path in recordings:
        beside = (path.with_suffix(ending) for ending in (".txt", ".TXT"))
        text_file = next((file for file in beside if file in texts), None)
        relative = path.relative_to(root)
        # Two recordings of one name keep their endings, so that each has an id of its own.
        name = relative if stems[path.with_suffix("")] > 1 else relative.with_suffix("")
        yield Item(
            id=name.as_posix(),
            audio=path,
            text=None if text_file is None else read_text(text_file),
            speaker=relative.parts[0] if len(relative.parts) > 1 else ONE_SPEAKER,
            language=dataset.language,
            where=str(path),
        )
    for path in sorted(texts):
        if path.with_suffix("") not in stems:
            name = path.relative_to(root).with_suffix("").as_posix()
            yield Item(id=name, audio=None, text=read_text(path), where=str(path))
