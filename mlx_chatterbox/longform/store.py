"""Finished pieces on disk, each a FLAC file (24 bits, lossless) and a JSON record.

A piece is stored under its key, a hash of everything that it is made from (`identity.py`), so a
piece whose text, seed, voice, model or settings have changed is another piece. It counts as done if
its record is valid and its audio matches the record; the record is written last. Every file is
written under another name, flushed to the disk and renamed, so that it is whole whenever a process
dies. A folder may come from somebody else (`runtime/own_files.py`): nothing in it is trusted, links
are not followed, and foreign files are not removed.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import JobError
from ..runtime.own_files import is_regular, open_regular, own_folder, remove_named, whole_file
from ..weights.manifest import sha256
from .records import is_sound

SUBTYPE = "PCM_24"
SAMPLE_RATE = 24000
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# A finished file, and a temporary one of a killed process (of older versions: no number).
_FINISHED = re.compile(r"[0-9a-f]{32}\.(?:flac|json)")
_LEFT = re.compile(r"\.[0-9a-f]{32}\.(?:flac|json)(?:\.[0-9a-f]{16})?\.tmp")


def write_durably(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, even if the power fails; see `write_stream`."""
    write_stream(path, [data])


def write_stream(path: Path, chunks: Iterable[bytes]) -> None:
    """Write a file from chunks, so that it need not be in memory, whole or not at all.

    Raises:
        JobError: the disk is full, or the folder cannot be written to.
    """
    try:
        with whole_file(path) as file:
            for chunk in chunks:
                file.write(chunk)
    except OSError as error:
        raise disk_error(path, error) from None


def disk_error(path: Path, error: OSError) -> JobError:
    """Make the error for a file that cannot be written."""
    if error.errno in _FULL:
        return JobError(f"{path} cannot be written: the disk is full. Free some space.")
    return JobError(f"{path} cannot be written: {error.strerror or error}.")


def write_json(path: Path, values: Any) -> None:
    """Write JSON whole or not at all; see `write_durably`."""
    text = json.dumps(values, indent=1, ensure_ascii=False) + "\n"
    write_durably(path, text.encode())


def read_json_or_none(path: Path) -> Any:
    """Read a JSON file; None if it is missing, damaged, or not a regular file."""
    try:
        with open_regular(path, follow=False) as file:
            return json.loads(file.read().decode("utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def encode(waveform: np.ndarray, sample_rate: int) -> bytes:
    """Encode audio, (n,) float32 clipped to [-1, 1], as a 24-bit FLAC file."""
    import soundfile

    buffer = io.BytesIO()
    clipped = np.clip(np.asarray(waveform, dtype=np.float32), -1.0, 1.0)
    soundfile.write(buffer, clipped, sample_rate, subtype=SUBTYPE, format="FLAC")
    return buffer.getvalue()


class PieceStore:
    """The pieces of a job, by key.

    Args:
        rate: their samples a second.

    Raises:
        JobError: the folder cannot be created, or is a link.
    """

    def __init__(self, folder: Path, rate: int = SAMPLE_RATE):
        self.folder, self.rate = folder, rate
        try:
            own_folder(folder)
        except OSError as error:
            raise disk_error(folder, error) from None
        remove_named(folder, _LEFT.fullmatch)  # of a process that was killed; we hold the lock

    def audio_path(self, key: str) -> Path:
        return self.folder / f"{key}.flac"

    def _record_path(self, key: str) -> Path:
        return self.folder / f"{key}.json"

    def write(self, key: str, audio: bytes, record: dict[str, Any]) -> None:
        """Store a piece.

        Args:
            audio: from `encode`.
            record: JSON values; the audio's hash is added.

        Raises:
            JobError: the disk is full.
        """
        write_durably(self.audio_path(key), audio)
        record = {**record, "sha256": hashlib.sha256(audio).hexdigest()}
        write_json(self._record_path(key), record)

    def record(self, key: str) -> dict[str, Any] | None:
        """Read the record of a piece; None if it is missing or not valid."""
        record = read_json_or_none(self._record_path(key))
        return record if is_sound(record) else None

    def is_done(self, key: str) -> bool:
        """Tell whether a piece is on disk as it was written; reads all of it.

        The hash shows damage. Whoever changes a piece can change its hash too, so it must also have
        one channel, the job's rate, and the length in its record.
        """
        import soundfile

        record, path = self.record(key), self.audio_path(key)
        if record is None or not is_regular(path):
            return False
        try:
            if sha256(path) != record["sha256"]:
                return False
            with open_regular(path, follow=False) as file:
                about = soundfile.info(file)
        except (OSError, RuntimeError, soundfile.SoundFileError):
            return False
        wanted = (1, self.rate, record["samples"])
        return (about.channels, about.samplerate, about.frames) == wanted

    def read(self, key: str) -> np.ndarray:
        """Read the samples of a piece, (n,) float32.

        Raises:
            JobError: it is missing or damaged.
        """
        import soundfile

        path = self.audio_path(key)
        try:
            with open_regular(path, follow=False) as file:
                waveform, rate = soundfile.read(file, dtype="float32")
        except (soundfile.SoundFileError, OSError, RuntimeError):
            waveform, rate = np.empty((0, 0)), 0
        if waveform.ndim != 1 or rate != self.rate:
            raise JobError(f"{path} is missing or damaged: run the same command to speak it again.")
        return waveform

    def keep_only(self, keys: Iterable[str]) -> None:
        """Remove all pieces but those with these keys."""
        wanted = set(keys)

        def is_unneeded(name: str) -> bool:
            return bool(_FINISHED.fullmatch(name)) and name.partition(".")[0] not in wanted

        remove_named(self.folder, is_unneeded)
