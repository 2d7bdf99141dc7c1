"""Where clips are listed: a folder, a table, JSON, a Hugging Face data set.

A source lists items, and judges none of them: what is wrong with an item is found by `check`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ...errors import DataError
from .columns import ROLES
from .hub import hub_items
from .item import Item
from .json_lists import json_items
from .layouts import folder_items
from .tables import table_items


def items_of(dataset) -> tuple[list[Item], list[str]]:
    """All items of the configured data set, in an order that is always the same.

    Args:
        dataset: the `dataset` section of the configuration.

    Returns:
        The items; and what was decided in reading them, a line each.

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
    notes = _without_effect(dataset)
    items = _unique(readers[dataset.dataset_type](dataset, notes))
    if not items:
        raise DataError(f"{dataset.dataset_path or dataset.dataset_name} lists no clips.")
    return items, notes


def _without_effect(dataset) -> list[str]:
    """Settings that are not of this kind of data set, for people."""
    if dataset.saved:
        return []
    kind = dataset.dataset_type
    names = ["columns"] if kind != "metadata_csv" else []
    names += [f"{role}_column_name" for role in ROLES] if kind == "wav_txt" else []
    given = [f"dataset.{name}" for name in names if getattr(dataset, name)]
    return [f"{', '.join(given)} has no effect with dataset_type {kind}"] if given else []


def _unique(items: Iterator[Item]) -> list[Item]:
    """Items under ids of their own: a second "a" becomes "a#2"."""
    seen: dict[str, int] = {}
    result = []
    for item in items:
        count = seen[item.id] = seen.get(item.id, 0) + 1
        result.append(item if count == 1 else replace(item, id=f"{item.id}#{count}"))
    return result
