"""Output of speech while it is made: to the speakers, or into a pipe.

Both take chunks, (n,) float32 at a fixed rate, by `write`, and end with `close`.
"""

from __future__ import annotations

import contextlib
import io
import struct
from queue import Queue
from threading import Thread
from typing import BinaryIO

import numpy as np

from ..errors import AudioError

# The size in the header of audio of unknown length (as ffmpeg and sox expect it).
_UNKNOWN = 0xFFFFFFFF
_HEADER_BYTES = 44
# Chunks that may wait for the speakers; `write` waits while there are so many.
_AHEAD = 8


def import_sounddevice():
    """Import the package sounddevice.

    Raises:
        AudioError: it or PortAudio is missing.
    """
    try:
        import sounddevice
    except (ImportError, OSError) as error:
        raise AudioError(
            f"--play needs sounddevice and PortAudio (pip install 'mlx-chatterbox[play]'): {error}"
        ) from None
    return sounddevice


def wav_header(sample_rate: int, samples: int | None = None) -> bytes:
    """The header of mono 16-bit PCM of a length in samples; None: unknown."""
    size = _UNKNOWN if samples is None else 2 * samples
    riff = _UNKNOWN if samples is None else size + _HEADER_BYTES - 8
    form = struct.pack("<IHHIIHH", 16, 1, 1, sample_rate, 2 * sample_rate, 2, 16)
    return (
        b"RIFF" + struct.pack("<I", riff) + b"WAVEfmt " + form + b"data" + struct.pack("<I", size)
    )


def pcm16(samples: np.ndarray) -> bytes:
    """Convert (n,) float32, clipped, to 16-bit little-endian PCM, rounded as libsndfile does."""
    # libsndfile rounds to 32 bits and drops the lower half.
    wide = np.rint(np.asarray(samples, np.float64) * 2.0**31)
    return (np.clip(wide, -(2.0**31), 2.0**31 - 1).astype(np.int64) >> 16).astype("<i2").tobytes()


class PipeWriter:
    """Writes WAV or raw 16-bit PCM into a binary file that need not be seekable.

    The WAV's header gives the length as unknown; where the file can be rewritten (`> x.wav`) it is
    corrected at the end.
    """

    def __init__(self, file: BinaryIO, sample_rate: int, raw: bool = False):
        """raw: no header."""
        self._file, self._rate, self._raw = file, sample_rate, raw
        self._samples = 0
        self._start = _position(file)
        if not raw:
            self._put(wav_header(sample_rate))

    def write(self, samples: np.ndarray) -> None:
        """Write (n,) float32 at once.

        Raises:
            BrokenPipeError: the reader has gone.
            AudioError: writing fails, for instance on a full disk.
        """
        self._samples += len(samples)
        self._put(pcm16(samples))

    def close(self) -> None:
        """Correct the header if possible; the file itself stays open."""
        # A file that is appended to (`>>`) puts everything at its end.
        if self._raw or self._start != 0 or 2 * self._samples >= _UNKNOWN - _HEADER_BYTES:
            return
        end = self._file.tell()
        if end != _HEADER_BYTES + 2 * self._samples:
            return
        with contextlib.suppress(OSError):
            self._file.seek(0)
            self._file.write(wav_header(self._rate, self._samples))
            self._file.seek(end)
            self._file.flush()

    def _put(self, data: bytes) -> None:
        try:
            self._file.write(data)
            self._file.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise AudioError(f"standard output cannot be written: {error.strerror}.") from None


def _position(file: BinaryIO) -> int | None:
    """The position of a file; None for a pipe."""
    try:
        return file.tell() if file.seekable() else None
    except (OSError, io.UnsupportedOperation):
        return None


class Player:
    """Plays audio through the default device, on a thread of its own.

    Raises:
        AudioError: sounddevice or a device is missing.
    """

    def __init__(self, sample_rate: int):
        sounddevice = import_sounddevice()
        self._failure = sounddevice.PortAudioError
        self._block = sample_rate // 10
        try:
            self._device = sounddevice.OutputStream(
                samplerate=sample_rate, channels=1, dtype="float32"
            )
            self._device.start()
        except self._failure as error:
            raise _unplayable(error) from None
        self._waiting: Queue[np.ndarray | None] = Queue(_AHEAD)
        self._error: Exception | None = None
        self._silent = False
        self._thread = Thread(target=self._play, name="player", daemon=True)
        self._thread.start()

    def write(self, samples: np.ndarray) -> None:
        """Queue (n,) float32 to be played; wait while `_AHEAD` chunks are queued.

        Raises:
            AudioError: the device has failed.
        """
        self._check()
        self._waiting.put(np.ascontiguousarray(samples, np.float32))

    def close(self) -> None:
        """Wait until everything has been played.

        Raises:
            AudioError: the device has failed.
        """
        self._waiting.put(None)
        self._thread.join()
        self._check()

    def abort(self) -> None:
        """Stop within a tenth of a second."""
        self._silent = True
        self._waiting.put(None)
        self._thread.join()

    def _check(self) -> None:
        if self._error is not None:
            raise _unplayable(self._error) from None

    def _play(self) -> None:
        # Only this thread uses the device.
        try:
            while (samples := self._waiting.get()) is not None:
                self._write(samples)
            if self._silent or self._error is not None:
                self._device.abort()
            else:
                self._device.stop()
        except self._failure as error:
            self._error = self._error or error
        with contextlib.suppress(self._failure):
            self._device.close()

    def _write(self, samples: np.ndarray) -> None:
        """Play in short blocks, so that `abort` need not wait; after an error, drop the samples."""
        try:
            for start in range(0, len(samples), self._block):
                if self._silent or self._error is not None:
                    return
                self._device.write(samples[start : start + self._block, None])
        except self._failure as error:
            self._error = error


def _unplayable(error: Exception) -> AudioError:
    return AudioError(f"the audio cannot be played: {error}")
