"""Reading and writing recordings: mono float32 waveforms and sound files.

Raises AudioError, with one line that says what is wrong, for everything a user can get wrong.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..errors import AudioError
from .formats import check_output, reason_of
from .resample import resample_soxr
from .writer import open_writer

__all__ = ["check_output", "load_audio", "read_channels", "save_audio"]


def _require_finite(waveform: np.ndarray, what: str) -> None:
    if not np.isfinite(waveform).all():
        raise AudioError(f"{what} contains NaN or infinite samples: give clean audio.")


def load_audio(path: str | os.PathLike, sample_rate: int) -> np.ndarray:
    """Read a recording as mono at the given rate, as `librosa.load(path, sr=sample_rate)` does.

    Channels are averaged, then resampled by soxr HQ. Returns (n,) float32, nominally in [-1, 1].
    Raises AudioError as `read_channels` does.
    """
    samples, native_rate = read_channels(path)
    return resample_soxr(samples.mean(axis=1), native_rate, sample_rate)


def read_channels(
    source: str | os.PathLike | BinaryIO, name: str | None = None
) -> tuple[np.ndarray, int]:
    """Read a recording as it is: (n, channels) float32, and its sample rate.

    Every format of libsndfile is read (WAV, FLAC, Ogg, Opus, MP3 ...), from a path or an open
    binary file, which is called `name` in messages.
    Raises AudioError if the file is missing, unreadable, empty, or holds NaN or infinite samples.
    """
    import soundfile

    if isinstance(source, (str, os.PathLike)):
        name = path = Path(source)
        if path.is_dir():
            raise AudioError(f"{path} is a folder, not a recording.")
        if not path.exists():
            raise AudioError(f"There is no file {path}: check the path of the recording.")
        source = str(path)
    try:
        samples, native_rate = soundfile.read(source, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError, RuntimeError) as error:
        raise AudioError(
            f"{name} cannot be read as audio ({reason_of(error)}); convert it to WAV or FLAC."
        ) from error
    if len(samples) == 0:
        raise AudioError(f"{name} is empty: it has no samples.")
    _require_finite(samples, str(name))
    return samples, native_rate


def save_audio(path: str | os.PathLike, waveform: np.ndarray, sample_rate: int) -> None:
    """Write a waveform to a sound file, in the format of the path's ending (WAV: 16-bit PCM).
    What comes in pieces is written by `writer.open_writer`.

    waveform: (n,) or (n, channels) float32; clipped to [-1, 1] unless the format stores
    floating-point samples.
    The file appears whole or not at all: it is written beside its place, then renamed.
    Raises AudioError if the ending is unknown, the folder is not there, the samples are no finite
    array of such a shape, or writing fails.
    """
    waveform = np.asarray(waveform, dtype=np.float32)
    channels = waveform.shape[1] if waveform.ndim == 2 else 1
    if waveform.ndim not in (1, 2) or waveform.size == 0 or channels > len(waveform):
        check_output(path)
        raise AudioError(
            f"Cannot write audio of shape {waveform.shape}: it must be (samples,) or "
            "(samples, channels)."
        )
    with open_writer(path, sample_rate, channels) as writer:
        writer.write(waveform)
