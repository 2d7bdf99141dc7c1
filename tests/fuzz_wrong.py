"""Faulty readers, whose faults the fuzz must find (`test_fuzz.py`)."""

from __future__ import annotations

import ctypes
import time
from pathlib import Path

from mlx_chatterbox.errors import CheckpointError
from tests.fuzzing import Reader


def raises(path: Path) -> float:
    return 1 / len(path.read_bytes().lstrip(b"x"))


def dies(path: Path) -> bytes:
    return ctypes.string_at(0)


def hangs(path: Path) -> None:
    time.sleep(60)


def fills(path: Path) -> int:
    return len(b"x" * (100 * 2**20))


def writes(path: Path) -> None:
    (path.parent.parent / "bystander" / "kept.txt").write_text("lost")


def says_much(path: Path) -> None:
    raise CheckpointError("two\nlines")


def refuses(path: Path) -> None:
    raise CheckpointError("no")


def _reader(read, **more) -> Reader:
    name = read.__name__.replace("_", "-")
    return Reader(name, read, lambda: [b"x"], (), **more)


READERS = (
    _reader(raises),
    _reader(dies),
    _reader(hangs, seconds=0.5),
    _reader(fills, megabytes=50),
    _reader(writes),
    _reader(says_much),
    _reader(refuses),
)
