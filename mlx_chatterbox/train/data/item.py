"""An item of a data set, and a recording that is not a file; used by every source of clips."""

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

# Endings of recordings. libsndfile cannot read the second line (m4a and on); these are read through
# ffmpeg, and reported where it is missing.
AUDIO_ENDINGS = (
    *(".wav", ".flac", ".mp3", ".ogg", ".opus", ".oga", ".aiff", ".aif", ".au", ".w64", ".caf"),
    *(".m4a", ".m4b", ".mp4", ".mov", ".aac", ".wma", ".webm", ".mka", ".mkv", ".3gp", ".amr"),
)
# The speaker's name where the data set names none.
ONE_SPEAKER = "speaker"


class Recording:
    """A recording that is not a file: encoded bytes or samples, fetched when it is read."""

    def __init__(self, name: str, fetch: Callable[[], Any]):
        """Wrap `fetch`, which returns a path, bytes of an audio file, or (samples, rate in Hz)."""
        self.name = name
        self._fetch = fetch

    def __str__(self) -> str:
        return self.name

    def read(self) -> tuple[np.ndarray, int]:
        """Read (n, channels) float32 and the rate in Hz; raises AudioError as `read_channels`."""
        content = self._fetch()
        if isinstance(content, (str, Path)):
            return read_channels(content)
        if isinstance(content, bytes):
            return read_channels(io.BytesIO(content), self.name)
        if content is None:
            raise AudioError(f"{self.name} has no audio.")
        samples, rate = content
        samples = np.asarray(samples, dtype=np.float32)
        # Hugging Face's decoders give (channels, n), others (n,) or (n, channels).
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
        id: unique within the data set, the same at every reading.
        audio: file, other recording, or None if there is none.
        text: as written; None if there is none. Bytes that are no UTF-8 are surrogates in it.
        part: "train" or "eval" if the source has such parts.
        where: file and line, for messages.
        fault: why the line cannot be used, if that is known after reading it.
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
    """Return the configured `dataset_path`; DataError if it is no existing folder or file."""
    if not dataset.dataset_path:
        raise DataError(f"dataset_type {dataset.dataset_type} needs dataset_path.")
    path = Path(dataset.dataset_path).expanduser()
    if not path.exists():
        raise DataError(f"there is no data set at {path} (dataset_path).")
    if not path.is_dir() and (problem := problem_of(path)):
        raise DataError(f"dataset_path: {path} {problem}.")
    return path
