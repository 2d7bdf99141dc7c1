"""Reading and writing recordings: mono float32 waveforms and sound files.

Raises AudioError, with one line that says what is wrong, for everything a user can get wrong.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..errors import AudioError
from .resample import resample_soxr

# Endings that libsndfile knows under another name: format, and subtype where not the default.
_ALIASES = {"OPUS": ("OGG", "OPUS"), "OGA": ("OGG", None), "AIF": ("AIFF", None)}
_USUAL = ".wav, .flac, .ogg, .opus or .mp3"
# libsndfile's Vorbis encoder overflows its stack on very long single writes.
_WRITE_SAMPLES = 1 << 16


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
            f"{name} cannot be read as audio ({_reason(error)}); convert it to WAV or FLAC."
        ) from error
    if len(samples) == 0:
        raise AudioError(f"{name} is empty: it has no samples.")
    _require_finite(samples, str(name))
    return samples, native_rate


def _reason(error: Exception) -> str:
    """The library's own words, without the path that our message names already."""
    text = getattr(error, "error_string", None) or getattr(error, "strerror", None) or str(error)
    return " ".join(str(text).split()).rstrip(".")


def _format_of(path: Path) -> tuple[str, str]:
    """libsndfile's format and subtype for the ending of a path."""
    import soundfile

    ending = path.suffix[1:].upper()
    container, subtype = _ALIASES.get(ending, (ending, None))
    # Headerless samples cannot be read back.
    if container not in soundfile.available_formats() or container == "RAW":
        what = f"ending {path.suffix!r}" if ending else "missing ending"
        raise AudioError(f"{path}: the {what} names no known audio format; use {_USUAL}.")
    return container, subtype or soundfile.default_subtype(container)


def check_output(path: str | os.PathLike) -> tuple[str, str]:
    """libsndfile's format and subtype for a file to write, before the work that fills it.

    Raises AudioError if the ending is unknown, the folder is not there, or the path is a folder.
    """
    path = Path(path)
    formats = _format_of(path)
    if path.is_dir():
        raise AudioError(f"{path} is a folder: name a file to write to.")
    if not path.parent.is_dir():
        raise AudioError(f"There is no folder {path.parent}: create it, or write elsewhere.")
    return formats


@contextmanager
def sound_file(
    path: str | os.PathLike, sample_rate: int, channels: int = 1
) -> Iterator[Callable[[np.ndarray], None]]:
    """Write a sound file bit by bit, in the format of the path's ending (WAV: 16-bit PCM).

    Gives a function that takes (n,) or (n, channels) float32, what follows the earlier ones;
    clipped to [-1, 1] unless the format stores floating-point samples.
    The file appears whole or not at all: it is written beside its place, then renamed.
    Raises AudioError if the ending is unknown, the folder is not there, samples are not finite, or
    writing fails.
    """
    import soundfile

    path = Path(path)
    container, subtype = check_output(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")

    def write(samples: np.ndarray) -> None:
        _require_finite(samples, "The audio to write")
        if subtype not in ("FLOAT", "DOUBLE"):
            samples = np.clip(samples, -1.0, 1.0)
        with _writing(path):
            for start in range(0, len(samples), _WRITE_SAMPLES):
                file.write(samples[start : start + _WRITE_SAMPLES])

    try:
        with _writing(path):
            file = soundfile.SoundFile(
                str(temporary), "w", sample_rate, channels, format=container, subtype=subtype
            )
        with file:
            yield write
            with _writing(path):
                file.close()
        with _writing(path):
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    import soundfile

    try:
        yield
    except (soundfile.SoundFileError, OSError, ValueError, RuntimeError) as error:
        raise AudioError(f"{path} cannot be written ({_reason(error)}).") from error


def save_audio(path: str | os.PathLike, waveform: np.ndarray, sample_rate: int) -> None:
    """Write a waveform to a sound file; see `sound_file`.

    waveform: (n,) or (n, channels) float32.
    Raises AudioError also if it has another shape.
    """
    waveform = np.asarray(waveform, dtype=np.float32)
    channels = waveform.shape[1] if waveform.ndim == 2 else 1
    if waveform.ndim not in (1, 2) or waveform.size == 0 or channels > len(waveform):
        check_output(path)
        raise AudioError(
            f"Cannot write audio of shape {waveform.shape}: it must be (samples,) or "
            "(samples, channels)."
        )
    with sound_file(path, sample_rate, channels) as write:
        write(waveform)
