"""Finished pieces on disk: each a FLAC file (24 bits, lossless) and a record of what was done.

A piece is known by its key, a hash of everything that it is made from (`identity.py`), so a piece
whose text, seed, voice, model or settings have changed is simply another one. It counts as done
when its record is there and its audio has the hash that the record says; the record is written
last. Everything is written beside its place, flushed to the disk and renamed, so whatever moment a
process dies at, what is there is whole.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import JobError
from ..manifest import sha256

SUBTYPE = "PCM_24"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def write_durably(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, also where the power fails; see `write_stream`."""
    write_stream(path, [data])


def write_stream(path: Path, chunks: Iterable[bytes]) -> None:
    """Write a file that need not be in memory, whole or not at all.

    Raises:
        JobError: the disk is full, or the folder cannot be written to.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        try:
            with temporary.open("wb") as file:
                for chunk in chunks:
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(path.parent)
    except OSError as error:
        raise disk_error(path, error) from None


def disk_error(path: Path, error: OSError) -> JobError:
    """What to tell somebody whose disk does not take a file."""
    if error.errno in _FULL:
        return JobError(f"{path} cannot be written: the disk is full. Make room.")
    return JobError(f"{path} cannot be written: {error.strerror or error}.")


def _sync_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):  # not every file system can
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_json(path: Path, values: Any) -> None:
    """Write JSON whole or not at all; see `write_durably`."""
    text = json.dumps(values, indent=1, ensure_ascii=False) + "\n"
    write_durably(path, text.encode())


def read_json(path: Path) -> Any:
    """What a JSON file holds; None if it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def encode(waveform: np.ndarray, sample_rate: int) -> bytes:
    """(n,) float32, clipped to [-1, 1], as a FLAC file of 24 bits."""
    import soundfile

    buffer = io.BytesIO()
    clipped = np.clip(np.asarray(waveform, dtype=np.float32), -1.0, 1.0)
    soundfile.write(buffer, clipped, sample_rate, subtype=SUBTYPE, format="FLAC")
    return buffer.getvalue()


class PieceStore:
    """The pieces of a job, by key."""

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(".*.tmp"):  # of a process that was killed; we hold the lock
            left.unlink(missing_ok=True)

    def audio_path(self, key: str) -> Path:
        return self.folder / f"{key}.flac"

    def _record_path(self, key: str) -> Path:
        return self.folder / f"{key}.json"

    def write(self, key: str, audio: bytes, record: dict[str, Any]) -> None:
        """Keep a piece.

        Args:
            audio: what `encode` made of it.
            record: what is to be remembered; the audio's hash is added.

        Raises:
            JobError: the disk is full.
        """
        write_durably(self.audio_path(key), audio)
        record = {**record, "sha256": hashlib.sha256(audio).hexdigest()}
        write_json(self._record_path(key), record)

    def record(self, key: str) -> dict[str, Any] | None:
        """What is remembered of a piece, None if it is not there."""
        record = read_json(self._record_path(key))
        return record if isinstance(record, dict) else None

    def is_done(self, key: str) -> bool:
        """Whether the piece is here and is what was written; reads it all."""
        record, path = self.record(key), self.audio_path(key)
        try:
            return record is not None and sha256(path) == record["sha256"]
        except (OSError, KeyError):
            return False

    def read(self, key: str) -> np.ndarray:
        """Samples of a piece, (n,) float32.

        Raises:
            JobError: it is missing or damaged.
        """
        import soundfile

        path = self.audio_path(key)
        try:
            waveform, _ = soundfile.read(path, dtype="float32")
        except (soundfile.SoundFileError, OSError, RuntimeError):
            raise JobError(
                f"{path} is missing or damaged: the same command again speaks it anew."
            ) from None
        return waveform

    def keep_only(self, keys: Iterable[str]) -> None:
        """Remove pieces that nothing needs any more."""
        wanted = set(keys)
        for path in self.folder.iterdir():
            if path.stem not in wanted:
                path.unlink(missing_ok=True)
