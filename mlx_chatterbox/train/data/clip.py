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
        content: hash of all its samples and their rate.
        start, end: what is used of it, in samples at its own rate.
        seconds: how long that is.
        part: "train" or "eval" where the data set says so itself.
        lufs: its loudness, where that was measured (`loudness_range_lufs`).
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
