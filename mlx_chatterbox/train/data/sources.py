"""Sources of clips: a folder, a table, JSON, a Hugging Face data set.

A source lists items without checking them; that is done by `check`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ...errors import DataError
from .columns import ROLES
from .hub_data import hub_items
from .item import Item
from .json_lists import json_items
from .recording_folders import folder_items
from .tables import table_items


def items_of(dataset) -> tuple[list[Item], list[str]]:
    """List all items of the configured data set, always in the same order.

    Args:
        dataset: the `dataset` section of the configuration.

    Returns:
        The items; and notes on how they were read, a line each.

    Raises:
        DataError: it does not exist, cannot be read, or lacks the columns.
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
    notes = _without_effect(dataset)
    items = _unique(readers[dataset.dataset_type](dataset, notes))
    if not items:
        raise DataError(f"{dataset.dataset_path or dataset.dataset_name} has no clips.")
    return items, notes


def _without_effect(dataset) -> list[str]:
    """Note settings that have no effect with this kind of data set."""
    if dataset.saved:
        return []
    kind = dataset.dataset_type
    names = ["columns"] if kind != "metadata_csv" else []
    names += [f"{role}_column_name" for role in ROLES] if kind == "wav_txt" else []
    ignored = [f"dataset.{name}" for name in names if getattr(dataset, name)]
    return [f"{', '.join(ignored)} has no effect with dataset_type {kind}"] if ignored else []


def _unique(items: Iterator[Item]) -> list[Item]:
    """Make the ids unique: a second "a" becomes "a#2"."""
    seen: dict[str, int] = {}
    result = []
    for item in items:
        count = seen[item.id] = seen.get(item.id, 0) + 1
        result.append(item if count == 1 else replace(item, id=f"{item.id}#{count}"))
    return result
