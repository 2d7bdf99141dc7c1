"""`manifest.json` of a job: each piece, how it was spoken, and its place in the output.

docs/jobs.md has the schema. It is written piece by piece, so that the tokens of a whole book need
not be in memory at once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from .assemble import OutputPart, Placed
from .store import write_stream

VERSION = 1
FORMAT = "mlx-chatterbox job"


def write_manifest(
    path: Path,
    about: dict[str, Any],
    parts: Sequence[OutputPart],
    record_of: Callable[[str], dict[str, Any] | None],
    placed: Sequence[Placed] = (),
    rate: int = 24000,
    failures: dict[str, str] | None = None,
) -> None:
    """Write the manifest, whole or not at all.

    Args:
        about: members for the whole job: output, seed, model, voice, settings.
        record_of: returns the record of a finished piece by its key, or None.
        placed: places of the parts, once the output is written.
        rate: samples a second.
        failures: why pieces could not be spoken, by key.

    Raises:
        JobError: the disk is full.
    """
    state = "finished" if placed else "unfinished"
    head = {"format": FORMAT, "version": VERSION, "state": state, **about}

    def lines() -> Iterator[bytes]:
        text = json.dumps(head, indent=1, ensure_ascii=False)
        yield (text[: text.rindex("\n")] + ',\n "pieces": [').encode()
        for index, part in enumerate(parts):
            record = record_of(part.key) if part.key else None
            where = placed[index] if placed else None
            entry = _entry(index + 1, part, record, where, rate, failures or {})
            text = json.dumps(entry, ensure_ascii=False)
            yield f"{',' if index else ''}\n  {text}".encode()
        yield b"\n ]\n}\n"

    write_stream(path, lines())


def _entry(
    number: int, part: OutputPart, record, where: Placed | None, rate: int, failures
) -> dict:
    piece = part.piece
    entry: dict[str, Any] = {"number": number, "text": piece.text, "pause": piece.pause}
    if piece.chapter is not None:
        entry["chapter"] = piece.chapter
    if piece.start is not None:
        entry["wanted"] = [piece.start, piece.end]
    if where is not None:
        entry["start"] = round(where.start / rate, 6)
        entry["end"] = round(where.end / rate, 6)
        if piece.start is not None:
            entry["speed"] = round(where.speed, 4)
            entry["overrun"] = round(where.overrun, 3)
            entry["late"] = round(where.late, 3)
    if part.key is None:
        return {**entry, "outcome": "pause"}
    entry["key"] = part.key
    if part.key in failures:
        return {**entry, "outcome": f"not spoken: {failures[part.key]}"}
    if record is None:
        return {**entry, "outcome": "waiting"}
    # Only in records that have something to report, and never in those of older programs.
    notes = {name: record[name] for name in ("unread", "stopped") if name in record}
    return {
        **entry,
        "outcome": record["outcome"] or "good",
        **notes,
        "seed": record["seed"],
        "tries": record["tries"],
        "samples": record["samples"],
        "loudness": record["loudness"],
        "sha256": record["sha256"],
        "tokens": record["tokens"],
    }
