"""The clips that a run was begun with, so that going on with others does not pass unseen."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from ..runtime.own_files import open_regular, write_whole
from .data.cache import short_hash
from .data.clip import Clip

CLIPS_NAME = "clips.json"
_NAMED = 3


def listed(train: Sequence[Clip], evaluation: Sequence[Clip]) -> dict[str, str]:
    """A hash of all that is learnt from each clip, by its id, and what it serves for."""
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
    # Text that is no UTF-8 may stand in an id; as an escape it can be written.
    write_whole(folder / CLIPS_NAME, json.dumps(clips, indent=0) + "\n", clean=True)


def read_list(folder: Path) -> dict[str, str] | None:
    """The list of an output folder; None if it has none, as runs of older versions."""
    try:
        with open_regular(folder / CLIPS_NAME) as file:
            values = json.loads(file.read())
    except (OSError, ValueError, RecursionError):
        return None
    whole = isinstance(values, dict) and all(isinstance(one, str) for one in values.values())
    return values if whole else None


def changes(before: dict[str, str], now: dict[str, str]) -> str:
    """What has changed, for people: "1 added (a), 2 removed (b, c)"; "" if nothing has."""
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
