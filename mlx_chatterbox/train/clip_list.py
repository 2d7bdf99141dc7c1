"""The list of clips that a run began with, so that a resumed run can report changes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from ..runtime.own_files import open_regular, write_whole
from .data.array_cache import short_hash
from .data.clip import Clip

CLIPS_NAME = "clips.json"
_NAMED = 3


def listed(train: Sequence[Clip], evaluation: Sequence[Clip]) -> dict[str, str]:
    """Return a hash of each clip's content, labels and part (train or eval), by its id."""
    return {
        clip.id: short_hash(
            part,
            clip.content,
            f"{clip.start} {clip.end}",
            clip.text.encode("utf-8", "surrogatepass"),
            clip.speaker.encode("utf-8", "surrogatepass"),
            clip.language or "",
        )[:16]
        for part, clips in (("train", train), ("eval", evaluation))
        for clip in clips
    }


def write_list(folder: Path, clips: dict[str, str]) -> None:
    """Write the list into an output folder, whole or not at all."""
    # Ids may have bytes that are no UTF-8; `clean` writes them as escapes.
    write_whole(folder / CLIPS_NAME, json.dumps(clips, indent=0) + "\n", clean=True)


def read_list(folder: Path) -> dict[str, str] | None:
    """Read the list of an output folder; None if it has none, as in runs of older versions."""
    try:
        with open_regular(folder / CLIPS_NAME) as file:
            values = json.loads(file.read())
    except (OSError, ValueError, RecursionError):
        return None
    whole = isinstance(values, dict) and all(isinstance(one, str) for one in values.values())
    return values if whole else None


def changes(before: dict[str, str], now: dict[str, str]) -> str:
    """Describe the changes to the user: "1 added (a), 2 removed (b, c)"; "" without changes."""
    kinds = {
        "added": [name for name in now if name not in before],
        "removed": [name for name in before if name not in now],
        "changed": [name for name in now if before.get(name, now[name]) != now[name]],
    }
    return ", ".join(
        f"{len(names)} {kind} ({_some(names)})" for kind, names in kinds.items() if names
    )


def _some(names: list[str]) -> str:
    shown = [name.encode("utf-8", "backslashreplace").decode() for name in names[:_NAMED]]
    return ", ".join(shown) + (", ..." if len(names) > _NAMED else "")
