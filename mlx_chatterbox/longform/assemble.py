"""Assembly of finished pieces into one audio file, with one piece in memory at a time."""

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

# A disk with less free space than this counts as full, bytes: a block did not fit.
_NO_ROOM = 1 << 20


@dataclass(frozen=True)
class OutputPart:
    """A piece of the plan, and the key of its audio; None for a pause, which has none."""

    piece: Piece
    key: str | None


@dataclass(frozen=True)
class Placed:
    """The place of a part in the output.

    Attributes:
        start, end: in samples of the output.
        speed: factor by which it was sped up to fit its subtitle.
        overrun: seconds by which it still ends after its subtitle's time.
        late: seconds by which it begins after its subtitle does.
    """

    part: OutputPart
    start: int
    end: int
    speed: float = 1.0
    overrun: float = 0.0
    late: float = 0.0


class Sink(Protocol):
    """The part of `audio.writer.AudioWriter` that an assembly uses."""

    samples: int

    def write(self, samples: np.ndarray) -> None: ...

    def silence(self, n: int) -> None: ...

    def chapter(self, title: str) -> None: ...


# Makes the audio of a part for the output, from its index and the seconds by which it is late.
Sound = Callable[[int, float], Fitted]


def assemble(sink: Sink, parts: Sequence[OutputPart], sound: Sound, rate: int) -> list[Placed]:
    """Write parts one after the other with their pauses, with one of them in memory at a time.

    Args:
        sound: called only for parts with a key.
        rate: samples a second.

    Returns:
        The place of each part.
    """
    placed = []
    for index, part in enumerate(parts):
        piece, late = part.piece, 0.0
        if piece.start is not None:
            # A subtitle begins at its time, or as soon as the one before has ended.
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
    parts: Sequence[OutputPart],
    sound: Sound,
    rate: int,
) -> tuple[list[Placed], int]:
    """Write an audio file, whole or not at all.

    Returns:
        The place of each part, and the number of samples of the file.

    Raises:
        AudioError: there is nothing to write, or the file cannot be written.
        JobError: the disk is full.
    """
    remove_leftovers(path, alone=True)  # of a run that was killed; we hold the job's lock
    try:
        with open_writer(
            path, rate, title=document.title, author=document.author, cover=document.cover
        ) as writer:
            placed = assemble(writer, parts, sound, rate)
    except AudioError:
        # Neither libsndfile nor ffmpeg reports this reason.
        if shutil.disk_usage(path.parent).free < _NO_ROOM:
            raise disk_error(path, OSError(errno.ENOSPC, "")) from None
        raise
    return placed, writer.samples
