"""From finished pieces to one file, one piece in memory at a time, and where each came to stand."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..audio.files import check_output
from ..errors import AudioError
from .plan import Piece
from .store import disk_error

_WRITE_SAMPLES = 1 << 16


@dataclass(frozen=True)
class Part:
    """A piece of the plan, and the key of its audio; None: it has none, a pause alone."""

    piece: Piece
    key: str | None


@dataclass(frozen=True)
class Placed:
    """Where a part came to stand, in samples of the output."""

    part: Part
    start: int
    end: int


class Assembly:
    """The parts of an output, one behind the other with their pauses.

    Attributes:
        placed: of the last pass over `blocks`, in order.
        samples: how long that was.
    """

    def __init__(self, parts: Sequence[Part], read: Callable[[str], np.ndarray], rate: int):
        """Args: read gives the samples, (n,) float32, of a key."""
        self._parts, self._read, self.rate = parts, read, rate
        self.placed: list[Placed] = []
        self.samples = 0

    def blocks(self) -> Iterator[np.ndarray]:
        """The output, (n,) float32 each; the same every time."""
        self.placed, self.samples = [], 0
        for part in self._parts:
            if part.piece.start is not None:
                # Subtitles begin when they are to, or as soon as the one before has ended.
                gap = round(part.piece.start * self.rate) - self.samples
                if gap > 0:
                    yield self._silence(gap)
            start = self.samples
            if part.key is not None:
                waveform = self._read(part.key)
                self.samples += len(waveform)
                yield waveform
            self.placed.append(Placed(part, start, self.samples))
            pause = round(part.piece.pause * self.rate)
            if pause > 0:
                yield self._silence(pause)

    def _silence(self, samples: int) -> np.ndarray:
        self.samples += samples
        return np.zeros(samples, dtype=np.float32)


def write_output(path: Path, assembly: Assembly) -> None:
    """Write a sound file, whole or not at all, never holding more than a part of it.

    Raises:
        AudioError: nothing to write, or the ending names no format.
        JobError: the disk is full.
    """
    import soundfile

    container, subtype = check_output(path)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb+") as file:
            checked = _Checked(file)
            with soundfile.SoundFile(
                checked, "w", assembly.rate, 1, format=container, subtype=subtype
            ) as sound:
                for block in assembly.blocks():
                    block = np.clip(block, -1.0, 1.0)
                    for first in range(0, len(block), _WRITE_SAMPLES):
                        sound.write(block[first : first + _WRITE_SAMPLES])
                        checked.check()
            checked.check()
            if not assembly.samples:
                raise AudioError(f"there is nothing to write to {path}: no piece was spoken.")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise disk_error(path, error) from None
    except (soundfile.SoundFileError, RuntimeError) as error:
        raise AudioError(f"{path} cannot be written ({error}).") from None
    finally:
        temporary.unlink(missing_ok=True)


class _Checked:
    """A file for libsndfile, which does not tell why a write failed."""

    def __init__(self, file):
        self._file = file
        self._error: OSError | None = None
        self.read, self.readinto = file.read, file.readinto
        self.seek, self.tell = file.seek, file.tell

    def write(self, data: bytes) -> int:
        try:
            # All the same to libsndfile, which would go on with what is left.
            return len(data) if self._error is not None else self._file.write(data)
        except OSError as error:
            self._error = error
            return len(data)

    def flush(self) -> None:
        if self._error is None:
            self._file.flush()

    def check(self) -> None:
        """Raise the error that a write met."""
        if self._error is not None:
            raise self._error
