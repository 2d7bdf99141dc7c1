"""A recording with its text, as it is trained on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .item import Recording


@dataclass(frozen=True)
class Clip:
    """A recording with its text, checked.

    Attributes:
        audio: a file, or a recording that is fetched.
        content: hash of all samples and their rate.
        start, end: the part that is used, in samples at the recording's own rate.
        seconds: length of that part.
        part: "train" or "eval" if the data set has such parts.
        lufs: loudness, where it was measured (`loudness_range_lufs`).
    """

    id: str
    audio: Path | Recording
    text: str
    speaker: str
    language: str | None
    content: str
    start: int
    end: int
    seconds: float
    part: str | None = None
    lufs: float | None = None
