"""Reading and writing of recordings: mono float32 waveforms and sound files.

The content of a file decides its format, never its name. libsndfile reads what it can (WAV, FLAC,
Ogg, Opus, MP3 ...), ffmpeg the rest where it is installed (M4A, AAC, WebM, videos ...). All that a
user can get wrong raises AudioError, with one line that says what is wrong.
"""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..errors import AudioError
from ..runtime.own_files import open_input
from .blocks import (
    MAX_PIPED_BYTES,
    check_finite_samples,
    check_rate,
    collected,
    sound_blocks,
)
from .cut_short import how_short
from .ffmpeg import HOW_TO_GET_IT, duration, ffmpeg_program, open_decoder
from .formats import check_output, reason_of
from .kinds import Kind, kind_of_content
from .resample import resample_soxr
from .writer import open_writer

__all__ = [
    "blocks_of",
    "check_output",
    "duration_of",
    "load_audio",
    "read_channels",
    "save_audio",
    "to_mono",
]

# Read beyond the wanted part, so that the cut does not show in the resampled signal.
_MARGIN_SECONDS = 2
# Channels cancel each other out if their mean is this much quieter than that of unrelated ones:
# 12 dB, which two equal channels reach at a correlation of -0.94.
_CANCELLED = 0.25
# Samples: the header of an MP3 file counts whole packets, and the encoder's padding with them.
_MPEG_MARGIN = 2 * 1152
# The length that libsndfile gives for a FLAC file that was written into a pipe.
_UNKNOWN = 2**63 - 1


def load_audio(
    path: str | os.PathLike, sample_rate: int, seconds: float | None = None
) -> np.ndarray:
    """Read a recording as mono at the given rate, as `librosa.load(path, sr=sample_rate)` does.

    Channels are averaged (`to_mono`), then resampled by soxr HQ.

    Args:
        seconds: the length to read from the beginning; a little more may come. None: all.

    Returns:
        (n,) float32, nominally in [-1, 1].

    Raises:
        AudioError: as `read_channels`.
    """
    samples, native_rate = read_channels(
        path, seconds=None if seconds is None else seconds + _MARGIN_SECONDS
    )
    with _enough_memory(str(path)):
        return resample_soxr(to_mono(samples, str(path)), native_rate, sample_rate)


def to_mono(samples: np.ndarray, name: str) -> np.ndarray:
    """Average channels to (n,) float32; where they cancel each other out, take the loudest one.

    Args:
        samples: (n, channels) float32.
        name: of the recording, for the warning about the latter.
    """
    mean = samples.mean(axis=1)
    if samples.shape[1] < 2:
        return mean
    energies = [float(np.vdot(channel, channel)) for channel in samples.T]
    if float(np.vdot(mean, mean)) ** 0.5 >= _CANCELLED * sum(energies) ** 0.5 / len(energies):
        return mean
    loudest = int(np.argmax(energies))
    warnings.warn(
        f"{name}: its channels cancel each other out (one is the other upside down); channel "
        f"{loudest + 1}, the loudest, is taken instead of their mean.",
        stacklevel=3,
    )
    return np.ascontiguousarray(samples[:, loudest])


def read_channels(
    source: str | os.PathLike | BinaryIO,
    name: str | None = None,
    seconds: float | None = None,
) -> tuple[np.ndarray, int]:
    """Read a recording as it is: (n, channels) float32, and its sample rate.

    Args:
        source: a path, or an open binary file, which is called `name` in messages.
        seconds: the most to read; None: all.

    Raises:
        AudioError: the file is missing, unreadable, empty, or holds NaN or infinite samples; its
            rate is impossible; it needs ffmpeg, which is missing.
        TooLongError: it is longer than what is read at once (`blocks.MAX_SECONDS`).
    """
    shown = str(source if name is None else name)
    with _enough_memory(shown), _opened(source, name) as (file, name, kind):
        if kind is not None and kind.is_foreign:
            samples, rate = _decoded(file, name, kind, seconds)
        else:
            short = how_short(file)
            try:
                sound = _sound_file(file)
            except _errors() as error:
                samples, rate = _decoded_after(error, file, name, kind, seconds)
                if short and (seconds is None or len(samples) < round(seconds * rate)):
                    _warn_of_short(name, short)
            else:
                samples, rate = _read(sound, name, seconds, short)
        if len(samples) == 0:
            raise AudioError(f"{name} is empty: it has no samples.")
        check_finite_samples(samples, name)
        return samples, rate


@contextlib.contextmanager
def _enough_memory(name: str) -> Iterator[None]:
    try:
        yield
    except MemoryError:
        raise AudioError(f"there is not enough memory to read {name}: cut it into parts.") from None


@contextlib.contextmanager
def blocks_of(path: str | os.PathLike) -> Iterator[tuple[int, int, Iterator[np.ndarray]]]:
    """Open a recording of any length: its rate, its channels, and blocks (n, channels) float32.

    Raises:
        AudioError: as `read_channels`.
    """
    with _opened(path, None) as (file, name, kind):
        if kind is not None and kind.is_foreign:
            with open_decoder(Path(path), name, kind) as decoder:
                yield decoder.rate, decoder.channels, decoder.blocks()
            return
        short = how_short(file)
        try:
            sound = _sound_file(file)
        except _errors() as error:
            raise _unreadable(name, kind, error) from error
        with sound:
            check_rate(sound.samplerate, name)
            seconds = sound_blocks(sound, at_once=sound.samplerate)
            yield sound.samplerate, sound.channels, _checked(seconds, sound, name, short)


def _checked(blocks: Iterator[np.ndarray], sound, name: str, short: str) -> Iterator[np.ndarray]:
    count = 0
    try:
        for block in blocks:
            count += len(block)
            yield block
    except _errors() as error:
        raise _unreadable(name, None, error) from error
    _warn_if_short(sound, name, short, count, None)


def duration_of(path: str | os.PathLike) -> float | None:
    """The length that a file's header gives, in seconds; None where it cannot be read."""
    try:
        with _opened(path, None) as (file, _, kind):
            if kind is not None and kind.is_foreign:
                return duration(Path(path), kind)
            with _sound_file(file) as sound:
                return sound.frames / sound.samplerate
    except AudioError:
        return None
    except _errors():
        return None


def _errors() -> tuple[type[Exception], ...]:
    """The exceptions that libsndfile raises."""
    import soundfile

    return (soundfile.SoundFileError, OSError, RuntimeError)


@contextlib.contextmanager
def _opened(
    source: str | os.PathLike | BinaryIO, name: str | None
) -> Iterator[tuple[BinaryIO, str, Kind | None]]:
    """Open a recording: the file, its name and its kind. Other kinds of files raise AudioError."""
    with contextlib.ExitStack() as stack:
        if isinstance(source, (str, os.PathLike)):
            path = Path(source)
            if path.is_dir():
                raise AudioError(f"{path} is a folder, not a recording.")
            if not path.exists():
                raise AudioError(f"There is no file {path}: check the path of the recording.")
            name = str(path)
            file: BinaryIO
            try:
                opened = stack.enter_context(open_input(path))
                # Without its buffer: libsndfile reads from the same file descriptor.
                raw = opened.raw if isinstance(opened, io.BufferedReader) else None
                assert isinstance(raw, io.FileIO)  # as `open` makes them
                file = raw if raw.seekable() else io.BytesIO(_piped(raw, name))
            except OSError as error:
                raise AudioError(f"{path} cannot be read ({reason_of(error)}).") from error
        else:
            file = source
        if not file.read(1):
            raise AudioError(f"{name} is empty: there is no recording in it.")
        file.seek(0)
        kind = kind_of_content(file)
        if kind is not None and not kind.demuxer:
            raise AudioError(f"{name} cannot be read as audio: it is {kind.name}.")
        yield file, str(name), kind


def _piped(file: io.FileIO, name: str) -> bytes:
    content = bytearray()
    while data := file.read(1 << 20):
        content += data
        if len(content) > MAX_PIPED_BYTES:
            raise AudioError(
                f"{name} is a pipe with more than {MAX_PIPED_BYTES >> 20} MB: save it as a file."
            )
    return bytes(content)


def _sound_file(file: BinaryIO):
    """Open libsndfile's reader at the beginning of a file.

    It does not get the file's name, whose ending it would trust.
    """
    import soundfile

    class Straight(soundfile.SoundFile):
        """A file that claims not to be seekable.

        Else `soundfile` would seek after each block to where it is already, which fails at the end
        of a file whose header gives a greater length.
        """

        def seekable(self) -> bool:
            return False

    if not isinstance(file, io.FileIO):
        return Straight(_Nameless(file))
    return Straight(file.fileno(), closefd=False)


class _Nameless:
    """An open file without the name that `soundfile` would look at."""

    def __init__(self, file: BinaryIO):
        self.read, self.seek, self.tell = file.read, file.seek, file.tell
        if hasattr(file, "readinto"):
            self.readinto = file.readinto


def _read(sound, name: str, seconds: float | None, short: str) -> tuple[np.ndarray, int]:
    rate, channels = sound.samplerate, sound.channels
    frames = None if seconds is None else round(seconds * rate)
    try:
        with sound:
            check_rate(rate, name)
            samples = collected(sound_blocks(sound, frames), channels, rate, name)
            _warn_if_short(sound, name, short, len(samples), frames)
            return samples, rate
    except _errors() as error:
        raise _unreadable(name, None, error) from error


def _warn_if_short(sound, name: str, short: str, count: int, frames: int | None) -> None:
    """Warn if less of a recording was read than its header promises.

    Args:
        short: the result of `how_short` for the file.
        count: the samples that were read, where `frames` were asked for (None: all).
    """
    if frames is not None and count >= frames:
        return
    wanted = sound.frames if frames is None else min(frames, sound.frames)
    margin = _MPEG_MARGIN if sound.format in ("MP3", "MPEG") else 0
    if not short and count < wanted - margin and sound.frames != _UNKNOWN:
        short = f"it says {sound.frames} samples, and {count} are there"
    if short:
        _warn_of_short(name, short)


def _warn_of_short(name: str, short: str) -> None:
    warnings.warn(f"{name} is cut short, or its header is wrong: {short}.", stacklevel=6)


def _decoded_after(
    error: Exception, file: BinaryIO, name: str, kind: Kind | None, seconds: float | None
) -> tuple[np.ndarray, int]:
    """Decode by ffmpeg a file that libsndfile has refused, if its container is known.

    libsndfile may lack the codec.
    """
    if kind is None or ffmpeg_program() is None:
        raise _unreadable(name, kind, error) from error
    try:
        return _decoded(file, name, kind, seconds)
    except AudioError:
        raise _unreadable(name, None, error) from error


def _unreadable(name: str, kind: Kind | None, error: Exception) -> AudioError:
    if kind is None:
        return AudioError(
            f"{name} cannot be read as audio ({reason_of(error)}); convert it to WAV or FLAC."
        )
    return AudioError(
        f"{name} is {kind.name} that cannot be read as audio ({reason_of(error)}); ffmpeg may read "
        f"it ({HOW_TO_GET_IT}), or convert it to WAV or FLAC."
    )


def _decoded(
    file: BinaryIO, name: str, kind: Kind, seconds: float | None
) -> tuple[np.ndarray, int]:
    """Decode all samples by ffmpeg."""
    with contextlib.ExitStack() as stack:
        if isinstance(file, io.FileIO):
            path = Path(os.fsdecode(file.name))
        else:  # ffmpeg must be able to go back and forth in it
            spool = stack.enter_context(tempfile.NamedTemporaryFile(prefix="recording-"))
            file.seek(0)
            while data := file.read(1 << 20):
                spool.write(data)
            spool.flush()
            path = Path(spool.name)
        decoder = stack.enter_context(open_decoder(path, name, kind, seconds))
        return collected(decoder.blocks(), decoder.channels, decoder.rate, name), decoder.rate


def save_audio(path: str | os.PathLike, waveform: np.ndarray, sample_rate: int) -> None:
    """Write a waveform to a sound file, in the format of the path's ending (WAV: 16-bit PCM).
    `writer.open_writer` writes audio that comes in pieces.

    waveform: (n,) or (n, channels) float32; clipped to [-1, 1] unless the format stores
    floating-point samples.
    The file appears whole or not at all: it is written beside its place, then renamed.
    Raises AudioError if the ending is unknown, the folder does not exist, the samples are not
    finite or of another shape, or writing fails.
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
