"""Audio books: AAC with chapters, title, author and cover, written by ffmpeg."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
import warnings
from pathlib import Path

import numpy as np

from ..errors import AudioError
from .ffmpeg import HOW_TO_GET_IT, ffmpeg_program

# Of AAC, for each channel.
BITS_PER_SECOND = 64_000


def find_ffmpeg() -> str:
    """The path of ffmpeg: of the program on the search path, else of the package imageio-ffmpeg.

    Raises:
        AudioError: there is neither.
    """
    program = ffmpeg_program()
    if program is None:
        raise AudioError(
            f"M4B and M4A need ffmpeg, which is not installed: {HOW_TO_GET_IT}; or write .mp3, "
            ".opus or .flac."
        )
    return program


class BookEncoder:
    """A `FileEncoder` (`writer.py`) by ffmpeg, which reads samples from a pipe.

    Chapters are added at the end, without encoding again.
    """

    def __init__(
        self,
        path: Path,
        sample_rate: int,
        channels: int = 1,
        title: str | None = None,
        author: str | None = None,
        cover: bytes | None = None,
    ):
        self._path, self._rate, self._cover = path, sample_rate, cover
        self._title, self._author = title, author
        self._samples = 0
        self._program = find_ffmpeg()
        self._sound = path.with_name(path.name + ".sound")
        self._words = path.with_name(path.name + ".txt")
        self._picture = path.with_name(path.name + ".cover")
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        self._encoder = subprocess.Popen(
            encode_command(self._program, self._sound, sample_rate, channels),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._errors,
        )
        assert self._encoder.stdin is not None  # a pipe, as asked for
        self._pipe = self._encoder.stdin

    def write(self, samples: np.ndarray) -> None:
        """samples: (n, channels) float32."""
        try:
            self._pipe.write(np.ascontiguousarray(samples, "<f4").tobytes())
        except (BrokenPipeError, ValueError):
            raise self._error() from None
        self._samples += len(samples)

    def finish(self, chapters: list[tuple[str, int]]) -> None:
        """chapters: title and first sample of each."""
        try:
            self._pipe.close()
        except BrokenPipeError:
            raise self._error() from None
        if self._encoder.wait():
            raise self._error()
        text = chapter_file(chapters, self._samples, self._rate, self._title, self._author)
        self._words.write_text(text, encoding="utf-8")
        kind = cover_format(self._cover)
        if self._cover is not None and kind is not None:
            self._picture.write_bytes(self._cover)
            if self._put_together((self._picture, kind)):
                return
        if self._cover is not None:
            warnings.warn("the cover is no JPEG or PNG that ffmpeg reads: left out.", stacklevel=2)
        if not self._put_together(None):
            raise self._error()

    def _put_together(self, cover: tuple[Path, str] | None) -> bool:
        """Write sound, chapters and cover into one file; return True if that worked."""
        command = chapters_command(self._program, self._sound, self._words, self._path, cover)
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._errors,
            check=False,
        )
        return not done.returncode

    def discard(self) -> None:
        """End the program and remove what it needed; the finished file stays."""
        if self._encoder.poll() is None:
            self._encoder.kill()
        self._encoder.wait()
        if not self._pipe.closed:
            with contextlib.suppress(BrokenPipeError):
                self._pipe.close()
        self._errors.close()
        self._sound.unlink(missing_ok=True)
        self._words.unlink(missing_ok=True)
        self._picture.unlink(missing_ok=True)

    def _error(self) -> AudioError:
        self._encoder.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return AudioError(f"ffmpeg failed: {lines[-1] if lines else 'it gave no reason'}.")


def encode_command(program: str, output: Path, sample_rate: int, channels: int) -> list[str]:
    """The ffmpeg command that encodes 32-bit floats from its standard input as AAC."""
    return [
        *_quietly(program),
        *("-f", "f32le", "-ar", str(sample_rate), "-ac", str(channels), "-i", "pipe:0"),
        *("-c:a", "aac", "-b:a", str(BITS_PER_SECOND * channels)),
        *("-fflags", "+bitexact", "-flags:a", "+bitexact", "-f", "ipod", _file(output)),
    ]


def cover_format(cover: bytes | None) -> str | None:
    """ffmpeg's name for the format of a picture; None for anything but JPEG and PNG.

    The format is passed to ffmpeg, which must not guess it: the "cover" of a stranger's book could
    be a list of other files to read.
    """
    if cover is None:
        return None
    if cover.startswith(b"\xff\xd8\xff"):
        return "jpeg_pipe"
    return "png_pipe" if cover.startswith(b"\x89PNG\r\n\x1a\n") else None


def chapters_command(
    program: str, sound: Path, words: Path, output: Path, cover: tuple[Path, str] | None = None
) -> list[str]:
    """The ffmpeg command that adds title, author, chapters and cover; the sound is copied.

    Args:
        cover: a picture's file and its `cover_format`.
    """
    picture: tuple[str, ...] = ()
    placed: tuple[str, ...] = ()
    if cover is not None:
        picture = ("-f", cover[1], "-i", _file(cover[0]))
        placed = ("-map", "2:v", "-disposition:v:0", "attached_pic")
    return [
        *_quietly(program),
        *("-i", _file(sound), "-f", "ffmetadata", "-i", _file(words), *picture),
        *("-map", "0:a", *placed, "-map_metadata", "1", "-map_chapters", "1", "-c", "copy"),
        *("-fflags", "+bitexact", "-movflags", "+faststart", "-f", "ipod", _file(output)),
    ]


def _quietly(program: str) -> list[str]:
    return [program, "-hide_banner", "-loglevel", "error", "-nostdin", "-y"]


def _file(path: Path) -> str:
    # Without "file:" a colon in a name would be taken for a protocol.
    return f"file:{path}"


def chapter_file(
    chapters: list[tuple[str, int]],
    samples: int,
    sample_rate: int,
    title: str | None = None,
    author: str | None = None,
) -> str:
    """Title, author and chapters in ffmpeg's own format.

    Args:
        chapters: title and first sample of each, in order; what comes before the first becomes a
            chapter with the title of the work.
        samples: the total length.
    """
    if chapters and chapters[0][1] > 0:
        chapters = [(title or "Beginning", 0), *chapters]
    lines = [";FFMETADATA1"]
    lines += [f"title={_escaped(title)}"] if title else []
    lines += [f"artist={_escaped(author)}", f"album_artist={_escaped(author)}"] if author else []
    lines += [f"album={_escaped(title)}"] if title else []
    ends = [start for _, start in chapters[1:]] + [samples]
    for (name, start), end in zip(chapters, ends, strict=True) if chapters else ():
        lines += ["[CHAPTER]", f"TIMEBASE=1/{sample_rate}", f"START={start}", f"END={end}"]
        lines += [f"title={_escaped(name)}"]
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    text = " ".join(text.split())
    return "".join("\\" + character if character in "=;#\\" else character for character in text)
