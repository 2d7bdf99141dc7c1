"""From finished pieces to one file, one piece in memory at a time, and where each came to stand."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from ..audio.writer import open_writer
from ..errors import AudioError
from ..runtime.own_files import remove_leftovers
from .fit import Fitted
from .plan import Document, Piece
from .store import disk_error

# Less than this is left of a full disk, in bytes: a block that did not fit.
_NO_ROOM = 1 << 20


@dataclass(frozen=True)
class Part:
    """A piece of the plan, and the key of its audio; None: it has none, a pause alone."""

    piece: Piece
    key: str | None


@dataclass(frozen=True)
class Placed:
    """Where a part came to stand.

    Attributes:
        start, end: in samples of the output.
        speed: how much faster it became to fit its subtitle.
        overrun: seconds by which it is too long for it, or too late, all the same.
        late: seconds by which it begins after its subtitle does.
    """

    part: Part
    start: int
    end: int
    speed: float = 1.0
    overrun: float = 0.0
    late: float = 0.0


class Sink(Protocol):
    """What `audio.writer.AudioWriter` is to an assembly."""

    samples: int

    def write(self, samples: np.ndarray) -> None: ...

    def silence(self, n: int) -> None: ...

    def chapter(self, title: str) -> None: ...


# The sound of a part, by its index and the seconds by which it is late, as it goes into the output.
Sound = Callable[[int, float], Fitted]


def assemble(sink: Sink, parts: Sequence[Part], sound: Sound, rate: int) -> list[Placed]:
    """Write parts one after the other with their pauses, one of them in memory at a time.

    Args:
        sound: is asked for parts with a key.

    Returns:
        Where each part came to stand.
    """
    placed = []
    for index, part in enumerate(parts):
        piece, late = part.piece, 0.0
        if piece.start is not None:
            # Subtitles begin when they are to, or as soon as the one before has ended.
            early = round(piece.start * rate) - sink.samples
            sink.silence(max(0, early))
            late = max(0, -early) / rate
        if piece.chapter is not None:
            sink.chapter(piece.chapter)
        start, speed, overrun = sink.samples, 1.0, 0.0
        if part.key is not None:
            fitted = sound(index, late)
            sink.write(fitted.waveform)
            speed, overrun = fitted.speed, max(late, fitted.overrun)
            del fitted
        placed.append(Placed(part, start, sink.samples, speed, overrun, late))
        sink.silence(round(piece.pause * rate))
    return placed


def write_output(
    path: Path,
    document: Document,
    parts: Sequence[Part],
    sound: Sound,
    rate: int,
) -> tuple[list[Placed], int]:
    """Write a sound file, whole or not at all.

    Returns:
        Where each part came to stand, and the samples of all.

    Raises:
        AudioError: nothing to write, or it cannot be written.
        JobError: the disk is full.
    """
    remove_leftovers(path, alone=True)  # of a run that was killed; we hold the job's lock
    try:
        with open_writer(
            path, rate, title=document.title, author=document.author, cover=document.cover
        ) as writer:
            placed = assemble(writer, parts, sound, rate)
    except AudioError:
        # Neither libsndfile nor ffmpeg says that this is why.
        if shutil.disk_usage(path.parent).free < _NO_ROOM:
            raise disk_error(path, OSError(errno.ENOSPC, "")) from None
        raise
    return placed, writer.samples
