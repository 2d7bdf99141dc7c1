"""Listening to recordings before anything is trained: how long, how loud, which samples.

What a file sounds like is remembered until the file changes.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import get_type_hints

import numpy as np

from ...audio.files import duration_of, read_channels, to_mono
from ...audio.loudness import loudness_of
from ...audio.silence import loud_part
from ...checks.plain import typed
from .item import Recording

_FULL_SCALE = 0.999


@dataclass(frozen=True)
class Facts:
    """What listening to a recording has shown; `start` and `end` as in `Clip`.

    Attributes:
        lufs: loudness of what is used, where it was asked for and is no silence.
    """

    content: str
    rate: int
    start: int
    end: int
    peak: float
    clipped: float
    lufs: float | None = None

    @property
    def seconds(self) -> float:
        return (self.end - self.start) / self.rate


def _facts(values: object) -> Facts:
    """Facts as they were remembered.

    Raises:
        ValueError, KeyError: they are none.
    """
    fields = typed(values, dict, "facts")
    hints = get_type_hints(Facts)
    facts = Facts(**{name: typed(fields[name], kind, name) for name, kind in hints.items()})
    if not facts.rate:
        raise ValueError("a rate of 0")
    return facts


def read_audio(audio: Path | Recording) -> tuple[np.ndarray, int]:
    """A clip's samples as they are, in one channel (`to_mono`): (n,) float32, and their rate.

    Raises:
        AudioError: missing, unreadable, empty, or with NaNs.
    """
    samples, rate = audio.read() if isinstance(audio, Recording) else read_channels(audio)
    return (samples[:, 0] if samples.shape[1] == 1 else to_mono(samples, str(audio))), rate


def content_hash(samples: np.ndarray, rate: int) -> str:
    """Of what a recording sounds like, whatever file format it is kept in without loss."""
    digest = hashlib.blake2b(np.ascontiguousarray(samples).view(np.uint8).data, digest_size=16)
    digest.update(str(rate).encode())
    return digest.hexdigest()


def reader_threads(wanted: int | None) -> int:
    """How many threads read recordings: as many as wanted, else one a core, at most eight."""
    return wanted or min(os.cpu_count() or 1, 8)


def ahead(pool: ThreadPoolExecutor, function: Callable, values: Iterable, depth: int) -> Iterator:
    """`map` in threads that never runs further ahead than `depth`: memory stays bounded."""
    waiting: deque = deque()
    for value in values:
        waiting.append(pool.submit(function, value))
        if len(waiting) >= depth:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


class Listener:
    """Facts of recordings, remembered for files that have not changed since."""

    def __init__(self, dataset, cache_dir: Path | None):
        self._trims = dataset.trim_silence
        self._top_db = dataset.trim_top_db
        self._longest = dataset.max_audio_duration_s
        self._file = None if cache_dir is None else cache_dir / "recordings.jsonl"
        self._margin = dataset.trim_margin_s
        self._measures = dataset.loudness_range_lufs is not None
        self._settings = f"{self._trims} {self._top_db} {self._margin}"
        if self._measures:
            self._settings += " lufs"
        self._known: dict[str, Facts] = {}
        if self._file is not None and self._file.is_file():
            for line in self._file.read_text(encoding="utf-8", errors="replace").splitlines():
                try:
                    entry = json.loads(line)
                    self._known[entry["key"]] = _facts(entry["facts"])
                except (ValueError, KeyError, TypeError, RecursionError):
                    continue  # the last line of a process that was killed

    def __call__(self, audio: Path | Recording) -> tuple[Facts, str | None]:
        """Facts, and the key to remember them by if they are new."""
        key = None
        if self._file is not None and isinstance(audio, Path):
            status = audio.stat()
            key = f"{audio.resolve()} {status.st_size} {status.st_mtime_ns} {self._settings}"
            if key in self._known:
                return self._known[key], None
        return self._listen(audio), key

    def remember(self, found: list[tuple[str, Facts]]) -> None:
        if self._file is None or not found:
            return
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("a", encoding="utf-8") as file:
            # A line feed first: the process before may have been killed inside a line.
            lines = [json.dumps({"key": key, "facts": asdict(facts)}) for key, facts in found]
            file.write("\n" + "\n".join(lines) + "\n")

    def too_long_to_read(self, audio: Path | Recording) -> float | None:
        """Seconds of a file so long that trimming cannot help: it need not be decoded."""
        if not isinstance(audio, Path):
            return None
        seconds = duration_of(audio)
        limit = self._longest * (10 if self._trims else 1) + 1
        return seconds if seconds is not None and seconds > limit else None

    def _listen(self, audio: Path | Recording) -> Facts:
        samples, rate = read_audio(audio)
        start, end = 0, len(samples)
        if self._trims:
            start, end = loud_part(samples, self._top_db)
            margin = round(self._margin * rate)
            start, end = max(0, start - margin), min(len(samples), end + margin)
        size = np.abs(samples)
        return Facts(
            content=content_hash(samples, rate),
            rate=rate,
            start=start,
            end=end,
            peak=float(size.max()),
            clipped=float(np.count_nonzero(size >= _FULL_SCALE) / len(size)),
            lufs=loudness_of(samples[start:end], rate) if self._measures else None,
        )
