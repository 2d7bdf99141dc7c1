"""What every source of clips has in common: an item, and a recording that is no file."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...audio.files import read_channels
from ...errors import AudioError, DataError
from ...runtime.own_files import problem_of

# Endings that are taken for recordings. Those that libsndfile cannot read (m4a and on) are read
# through ffmpeg; without it they are reported instead of overlooked.
AUDIO_ENDINGS = (
    *(".wav", ".flac", ".mp3", ".ogg", ".opus", ".oga", ".aiff", ".aif", ".au", ".w64", ".caf"),
    *(".m4a", ".m4b", ".mp4", ".mov", ".aac", ".wma", ".webm", ".mka", ".mkv", ".3gp", ".amr"),
)
# Who speaks where nothing says so.
ONE_SPEAKER = "speaker"


class Recording:
    """A recording that is no file: encoded bytes or samples, fetched when they are read."""

    def __init__(self, name: str, fetch: Callable[[], Any]):
        """`fetch` returns a path, bytes of an audio file, or (samples, sample rate)."""
        self.name = name
        self._fetch = fetch

    def __str__(self) -> str:
        return self.name

    def read(self) -> tuple[np.ndarray, int]:
        """(n, channels) float32 and the sample rate; raises AudioError as `read_channels`."""
        content = self._fetch()
        if isinstance(content, (str, Path)):
            return read_channels(content)
        if isinstance(content, bytes):
            return read_channels(io.BytesIO(content), self.name)
        if content is None:
            raise AudioError(f"{self.name} has no audio.")
        samples, rate = content
        samples = np.asarray(samples, dtype=np.float32)
        # Hugging Face's decoders give (channels, n), everybody else (n,) or (n, channels).
        if samples.ndim == 2 and samples.shape[0] < samples.shape[1]:
            samples = samples.T
        samples = samples.reshape(len(samples), -1)
        if samples.size == 0:
            raise AudioError(f"{self.name} is empty: it has no samples.")
        if not np.isfinite(samples).all():
            raise AudioError(f"{self.name} contains NaN or infinite samples: give clean audio.")
        return samples, int(rate)


@dataclass(frozen=True)
class Item:
    """One line of a source, unchecked.

    Attributes:
        id: unique within the data set, the same whenever it is read.
        audio: file, other recording, or None if there is none.
        text: as written; None if there is none. Bytes that are no UTF-8 are surrogates in it.
        part: "train" or "eval" where the source says so itself.
        where: file and line, for messages.
        fault: what makes the line unusable, if reading it has shown that already.
        missing: where the recording was looked for, if there is none.
        remarks: (reason, detail) of warnings; the clip is kept.
    """

    id: str
    audio: Path | Recording | None
    text: str | None
    speaker: str = ONE_SPEAKER
    language: str | None = None
    part: str | None = None
    where: str = ""
    fault: str | None = None
    missing: str | None = None
    remarks: tuple[tuple[str, str], ...] = ()


def path_of(dataset) -> Path:
    """The configured `dataset_path`; raises DataError if it is not there, or neither a folder nor a
    file."""
    if not dataset.dataset_path:
        raise DataError(f"dataset_type {dataset.dataset_type} needs dataset_path.")
    path = Path(dataset.dataset_path).expanduser()
    if not path.exists():
        raise DataError(f"there is no data set at {path} (dataset_path).")
    if not path.is_dir() and (problem := problem_of(path)):
        raise DataError(f"dataset_path: {path} {problem}.")
    return path
