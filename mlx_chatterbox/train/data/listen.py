"""Measures recordings before training: length, loudness, peak, content.

The facts about a file are kept until the file changes.
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
    """Facts about a recording; `content`, `start` and `end` as in `Clip`.

    Attributes:
        rate: Hz.
        peak: largest absolute sample, 1 is full scale.
        clipped: share of the samples at full scale.
        lufs: loudness of the part that is used, if it was measured and is not silence.
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
    """Read saved facts.

    Raises:
        ValueError, KeyError: `values` are no facts.
    """
    fields = typed(values, dict, "facts")
    hints = get_type_hints(Facts)
    facts = Facts(**{name: typed(fields[name], kind, name) for name, kind in hints.items()})
    if not facts.rate:
        raise ValueError("a rate of 0")
    return facts


def read_audio(audio: Path | Recording) -> tuple[np.ndarray, int]:
    """Read a recording in one channel (`to_mono`): (n,) float32, and the rate in Hz.

    Raises:
        AudioError: it is missing, unreadable or empty, or has NaNs.
    """
    samples, rate = audio.read() if isinstance(audio, Recording) else read_channels(audio)
    return (samples[:, 0] if samples.shape[1] == 1 else to_mono(samples, str(audio))), rate


def content_hash(samples: np.ndarray, rate: int) -> str:
    """Hash the samples and the rate; the same for any lossless file format."""
    digest = hashlib.blake2b(np.ascontiguousarray(samples).view(np.uint8).data, digest_size=16)
    digest.update(str(rate).encode())
    return digest.hexdigest()


def reader_threads(wanted: int | None) -> int:
    """Number of threads that read recordings: `wanted`, else one a core, at most eight."""
    return wanted or min(os.cpu_count() or 1, 8)


def ahead(pool: ThreadPoolExecutor, function: Callable, values: Iterable, depth: int) -> Iterator:
    """Map in threads, at most `depth` values ahead, so that memory is bounded."""
    waiting: deque = deque()
    for value in values:
        waiting.append(pool.submit(function, value))
        if len(waiting) >= depth:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


class Listener:
    """Measures recordings; facts of unchanged files are read from the cache folder."""

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
        """Return a recording's facts, and the key to save them under if they are new."""
        key = None
        if self._file is not None and isinstance(audio, Path):
            status = audio.stat()
            key = f"{audio.resolve()} {status.st_size} {status.st_mtime_ns} {self._settings}"
            if key in self._known:
                return self._known[key], None
        return self._listen(audio), key

    def remember(self, new: list[tuple[str, Facts]]) -> None:
        """Save new facts, each with its key."""
        if self._file is None or not new:
            return
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("a", encoding="utf-8") as file:
            # A line feed first: an earlier process may have been killed inside a line.
            lines = [json.dumps({"key": key, "facts": asdict(facts)}) for key, facts in new]
            file.write("\n" + "\n".join(lines) + "\n")

    def too_long_to_read(self, audio: Path | Recording) -> float | None:
        """Return the seconds of a file that is too long even if trimmed, else None."""
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
