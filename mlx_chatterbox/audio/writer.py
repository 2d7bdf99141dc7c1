"""Writing of a sound file piece by piece, in memory that does not depend on its length.

    with open_writer("book.m4b", 24000, title="Emma", author="Jane Austen") as writer:
        writer.chapter("Chapter 1")
        writer.write(samples)

The file appears whole, when the block ends, or not at all: it is written under another name, then
renamed. The same samples give the same bytes, whatever the pieces.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np

from ..errors import AudioError
from ..runtime.own_files import new_beside
from .blocks import check_finite_samples
from .formats import BOOK, check_output, reason_of

# Always written at once: the output of Vorbis depends on how many samples come together, and its
# encoder in libsndfile overflows its stack on very many.
_WRITE_SAMPLES = 1 << 14
# The bytes that a WAV file's 32 bits can count, less the size of its header.
_MOST_WAV_BYTES = (1 << 32) - (1 << 16)
_WAV_BYTES = {"PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4, "DOUBLE": 8, "PCM_U8": 1}
_FLOATING = ("FLOAT", "DOUBLE")


class FileEncoder(Protocol):
    """Encodes samples into a file at a path of its own."""

    def write(self, samples: np.ndarray) -> None: ...

    def finish(self, chapters: list[tuple[str, int]]) -> None: ...

    def discard(self) -> None: ...


class AudioWriter:
    """An open file to write; made by `open_writer`.

    Attributes:
        samples: written so far, of a channel.
        chapters: title and first sample of each chapter so far.
    """

    def __init__(
        self, path: Path, encoder: FileEncoder, channels: int, clips: bool, most: int | None
    ):
        self.samples = 0
        self.chapters: list[tuple[str, int]] = []
        self._path = path
        self._encoder = encoder
        self._channels = channels
        self._clips = clips
        self._most = most
        self._block = np.empty((_WRITE_SAMPLES, channels), np.float32)
        self._waiting = 0

    def write(self, samples: np.ndarray) -> None:
        """Append samples.

        samples: (n,) or (n, channels) float32; clipped to [-1, 1] unless the format stores
        floating-point samples.
        Raises AudioError if they are of another shape, not finite, or cannot be written.
        """
        samples = np.asarray(samples, dtype=np.float32)
        if samples.ndim == 1 and self._channels == 1:
            samples = samples[:, None]
        if samples.ndim != 2 or samples.shape[1] != self._channels:
            raise AudioError(
                f"Cannot write audio of shape {samples.shape}: it must be (samples,) or "
                "(samples, channels)."
            )
        check_finite_samples(samples, "The audio to write")
        if self._most is not None and self.samples + len(samples) > self._most:
            raise AudioError(f"{self._path}: a WAV file ends at 4 GB; write .flac or .m4b instead.")
        if self._clips:
            samples = np.clip(samples, -1.0, 1.0)
        self.samples += len(samples)
        taken = 0
        with _explained(self._path):
            while taken < len(samples):
                some = samples[taken : taken + _WRITE_SAMPLES - self._waiting]
                self._block[self._waiting : self._waiting + len(some)] = some
                self._waiting += len(some)
                taken += len(some)
                if self._waiting == _WRITE_SAMPLES:
                    self.flush()

    def flush(self) -> None:
        """Encode the samples that wait for a full block; `open_writer` does so at the end."""
        if self._waiting:
            self._encoder.write(self._block[: self._waiting].copy())
            self._waiting = 0

    def silence(self, n: int) -> None:
        """Append n samples of silence."""
        for start in range(0, n, _WRITE_SAMPLES):
            self.write(np.zeros((min(_WRITE_SAMPLES, n - start), self._channels), np.float32))

    def chapter(self, title: str) -> None:
        """Begin a chapter with the next sample; formats without chapters ignore it."""
        if self.chapters and self.chapters[-1][1] == self.samples:
            self.chapters.pop()
        self.chapters.append((title, self.samples))


@contextlib.contextmanager
def open_writer(
    path: str | os.PathLike,
    sample_rate: int,
    channels: int = 1,
    *,
    title: str | None = None,
    author: str | None = None,
    cover: bytes | None = None,
) -> Iterator[AudioWriter]:
    """Open a writer for the format of the path's ending (WAV, FLAC: 16-bit PCM; M4B by ffmpeg).

    Args:
        title, author: of the work; formats without a place for them ignore them.
        cover: a JPEG or PNG file's bytes, for M4B; others ignore it.

    Raises:
        AudioError: as `check_output`, before anything is written; or no samples were written in the
            block; or writing fails.
    """
    path = Path(path)
    container, subtype = check_output(path)
    encoder: FileEncoder | None = None
    with _explained(path):
        file = new_beside(path)
    temporary = Path(file.name)
    try:
        with _explained(path):
            if (container, subtype) == BOOK:
                from .m4b import BookEncoder

                encoder = BookEncoder(temporary, sample_rate, channels, title, author, cover)
            else:
                encoder = _SoundFileEncoder(
                    file, sample_rate, channels, container, subtype, title, author
                )
        most = None
        if container == "WAV":
            most = _MOST_WAV_BYTES // (_WAV_BYTES.get(subtype, 4) * channels)
        writer = AudioWriter(path, encoder, channels, subtype not in _FLOATING, most)
        yield writer
        if not writer.samples:
            raise AudioError(f"{path} cannot be written: there is no audio.")
        with _explained(path):
            writer.flush()
            encoder.finish(writer.chapters)
            os.fsync(file.fileno())
            os.replace(temporary, path)
    finally:
        if encoder is not None:
            encoder.discard()
        file.close()
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn all errors of writing into an AudioError."""
    import soundfile

    try:
        yield
    except (soundfile.SoundFileError, OSError, ValueError, RuntimeError) as error:
        raise AudioError(f"{path} cannot be written ({reason_of(error)}).") from error


class _SoundFileEncoder:
    """Encodes the formats that libsndfile writes."""

    def __init__(
        self,
        file: BinaryIO,
        sample_rate: int,
        channels: int,
        container: str,
        subtype: str,
        title: str | None,
        author: str | None,
    ):
        import soundfile

        self._path, self._is_ogg = Path(file.name), container == "OGG"
        self._bytes = _Checked(file)
        self._file = soundfile.SoundFile(
            self._bytes, "w", sample_rate, channels, format=container, subtype=subtype
        )
        for name, text in (("title", title), ("artist", author)):
            # Formats without a place for it raise an error.
            if text:
                with contextlib.suppress(soundfile.SoundFileError):
                    setattr(self._file, name, text)

    def write(self, samples: np.ndarray) -> None:
        self._file.write(samples)
        self._bytes.check()

    def finish(self, chapters: list[tuple[str, int]]) -> None:
        self._file.close()
        self._bytes.close()
        self._bytes.check()
        if self._is_ogg:
            from .ogg import fix_serial_number

            fix_serial_number(self._path)

    def discard(self) -> None:
        self._file.close()
        self._bytes.close()


class _Checked:
    """A file for libsndfile that keeps the first error of writing.

    libsndfile does not report why a write failed, nor that one failed while it closed the file: a
    full disk would leave a file that is cut short.
    """

    def __init__(self, file: BinaryIO):
        # Unbuffered, so that nothing is left to be written when libsndfile seeks.
        self._file = os.fdopen(os.dup(file.fileno()), "rb+", buffering=0)
        self._error: OSError | None = None
        self.read, self.readinto = self._file.read, self._file.readinto
        self.seek, self.tell = self._file.seek, self._file.tell

    def write(self, data: bytes) -> int:
        left = memoryview(data)
        with self._remembered():
            while len(left) and self._error is None:
                left = left[self._file.write(left) :]
        return len(data)

    def close(self) -> None:
        """Flush the file to disk and close it; errors are kept for `check`."""
        if not self._file.closed:
            with self._remembered():
                os.fsync(self._file.fileno())
            with self._remembered():
                self._file.close()

    @contextlib.contextmanager
    def _remembered(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._error = self._error or error

    def check(self) -> None:
        """Raise the first error of writing, if there was one."""
        if self._error is not None:
            raise self._error
