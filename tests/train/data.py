"""Recordings and data sections for the tests of the training data."""

from __future__ import annotations

import dataclasses

import soundfile

from mlx_chatterbox.train.sections import DatasetSection

RATE = 24000


def section(path=None, kind="wav_txt", **settings) -> DatasetSection:
    """The dataset section with a path; no trimming, so that lengths are those of the files."""
    settings = {"trim_silence": False, **settings}
    path = None if path is None else str(path)
    return dataclasses.replace(DatasetSection(dataset_path=path, **settings), dataset_type=kind)


def write(path, waveform, text=None, rate=RATE, **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(str(path), waveform, rate, **options)
    if text is not None:
        path.with_suffix(".txt").write_text(text, encoding="utf-8")


SENTENCES = (
    "The cat sat down.",
    "It rains today.",
    "Where is the bus?",
    "Please open the door.",
    "She reads a book.",
    "We walk home.",
    "The tea is hot.",
    "Count to ten.",
    "Good morning!",
    "Birds sing early.",
)


def without_timings(lines: list[dict]) -> list[dict]:
    """Lines of metrics, without figures that depend on the machine."""
    from mlx_chatterbox.train.metrics import TIMINGS

    return [{k: v for k, v in line.items() if k not in TIMINGS} for line in lines]
