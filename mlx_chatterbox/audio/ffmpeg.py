"""Reading of recordings that libsndfile cannot read, by the program ffmpeg where it is installed.

The file is untrusted, so ffmpeg gets the format to read as an option, may open nothing but that
file, and is stopped when it writes nothing for a minute.
"""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..errors import AudioError
from .blocks import check_rate
from .kinds import Kind

HOW_TO_GET_IT = "brew install ffmpeg, apt install ffmpeg or pip install 'mlx-chatterbox[m4b]'"
# A program that writes nothing for this long hangs.
IDLE_SECONDS = 60
_READ_BYTES = 1 << 18
_DESCRIPTION = 1 << 20
_HEADER = struct.Struct(">4s5I")
_DURATION = re.compile(r"Duration: (\d+):(\d\d):(\d\d(?:\.\d+)?)")
_NO_SOUND = ("matches no streams", "does not contain any stream")
# Before a message: the name of ffmpeg's part, and an address in memory.
_SPEAKER = re.compile(r"^(?:\[[^\]]*\]\s*)+")


def ffmpeg_program() -> str | None:
    """The path of ffmpeg: on the search path, else of the package imageio-ffmpeg; None without."""
    program = shutil.which("ffmpeg")
    if program is not None:
        return program
    try:
        from imageio_ffmpeg import get_ffmpeg_exe

        return get_ffmpeg_exe()
    except (ImportError, RuntimeError, OSError):
        return None


def decode_command(
    program: str, path: Path, demuxer: str, seconds: float | None = None
) -> list[str]:
    """The ffmpeg command that writes the first sound track as 32-bit floats to standard output."""
    return [
        *_input(program, path, demuxer),
        *("-map", "0:a:0", *(("-t", f"{seconds:g}") if seconds is not None else ())),
        *("-c:a", "pcm_f32be", "-f", "au", "pipe:1"),
    ]


def _input(program: str, path: Path, demuxer: str) -> list[str]:
    return [
        *(program, "-hide_banner", "-nostdin", "-loglevel", "error"),
        *("-protocol_whitelist", "file,pipe", "-f", demuxer, "-i", f"file:{path}"),
    ]


class FfmpegDecoder:
    """A recording that ffmpeg decodes; made by `open_decoder`.

    Attributes:
        rate, channels: of the sound track.
    """

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        ready: selectors.BaseSelector,
        errors,
        name: str,
        kind: Kind,
        path: Path,
    ):
        self._process, self._errors = process, errors
        self._name, self._kind, self._path = name, kind, path
        assert process.stdout is not None  # `open_decoder` asks for a pipe
        self._pipe = process.stdout
        self._ready = ready
        ready.register(self._pipe, selectors.EVENT_READ)
        head = self._take(_HEADER.size)
        if len(head) < _HEADER.size:
            raise self._failed()
        mark, start, _, _, self.rate, self.channels = _HEADER.unpack(head)
        if mark != b".snd" or self.channels < 1:
            raise self._failed()
        check_rate(self.rate, name)
        self._take(start - _HEADER.size)

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield (n, channels) float32 each; warn at the end if ffmpeg reported damage.

        Raises:
            AudioError: ffmpeg fails or hangs.
        """
        frame = 4 * self.channels
        left = b""
        while data := self._read():
            data = left + data
            whole = len(data) // frame * frame
            left = data[whole:]
            samples = np.frombuffer(data, ">f4", whole // 4).astype(np.float32)
            if len(samples):
                yield samples.reshape(-1, self.channels)
        if self._ended():
            raise self._failed()
        if damage := self._last_words():
            import warnings

            warnings.warn(
                f"{self._name} is damaged; the readable parts are used (ffmpeg: {damage}).",
                stacklevel=2,
            )

    def _ended(self) -> int:
        """Wait for ffmpeg's exit code; kill it if it does not end in a minute."""
        try:
            return self._process.wait(IDLE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def _take(self, count: int) -> bytes:
        taken = b""
        while len(taken) < count and (data := self._read(count - len(taken))):
            taken += data
        return taken

    def _read(self, most: int = _READ_BYTES) -> bytes:
        if not self._ready.select(IDLE_SECONDS):
            self._process.kill()
            raise AudioError(
                f"{self._name} cannot be read as audio: ffmpeg wrote nothing for {IDLE_SECONDS} s."
            )
        return self._pipe.read(most)

    def _complaints(self) -> str:
        """The end of ffmpeg's messages, of which there may be one for each frame."""
        size = self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, size - _READ_BYTES))
        return self._errors.read(_READ_BYTES).decode(errors="replace")

    def _last_words(self) -> str:
        """The last of ffmpeg's messages, shortened; "" for none."""
        lines = self._complaints().strip().splitlines()
        words = [_SPEAKER.sub("", line).strip() for line in lines]
        words = [line for line in words if line and not line.startswith("Error opening output")]
        return words[-1][:160].rstrip(".") if words else ""

    def _failed(self) -> AudioError:
        self._ended()
        if any(mark in self._complaints() for mark in _NO_SOUND):
            return AudioError(
                f"{self._name} is {self._kind.name} without a sound track: it cannot be "
                "read as audio."
            )
        if self._kind.demuxer == "mov" and _is_protected(self._path):
            return AudioError(
                f"{self._name} is {self._kind.name} that is encrypted (DRM): only its shop's app "
                "can read it."
            )
        return AudioError(
            f"{self._name} is {self._kind.name} that cannot be read as audio "
            f"({self._last_words() or 'ffmpeg failed'}); convert it to WAV or FLAC."
        )


def _is_protected(path: Path) -> bool:
    """Return True for an MPEG-4 file whose sound is encrypted.

    The description of its tracks stands at the beginning or at the end of the file.
    """
    try:
        with path.open("rb") as file:
            ends = file.read(_DESCRIPTION)
            file.seek(max(0, path.stat().st_size - _DESCRIPTION))
            ends += file.read()
    except OSError:
        return False
    return b"sinf" in ends and any(name in ends for name in (b"enca", b"drms", b"aavd"))


@contextlib.contextmanager
def open_decoder(
    path: Path, name: str, kind: Kind, seconds: float | None = None
) -> Iterator[FfmpegDecoder]:
    """Decode a file by ffmpeg.

    Args:
        name: of the file in messages.
        seconds: no more than these.

    Raises:
        AudioError: there is no ffmpeg, no sound track, or it cannot be decoded.
    """
    missing = AudioError(
        f"{name} is {kind.name}: reading it needs ffmpeg, which is not installed "
        f"({HOW_TO_GET_IT}); or convert it to WAV or FLAC."
    )
    program = ffmpeg_program()
    if program is None:
        raise missing
    command = decode_command(program, path, kind.demuxer, seconds)
    with tempfile.TemporaryFile() as errors, selectors.DefaultSelector() as ready:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                bufsize=0,
            )
        except OSError:
            raise missing from None
        try:
            yield FfmpegDecoder(process, ready, errors, name, kind, path)
        finally:
            process.kill()
            if process.stdout is not None:
                process.stdout.close()
            process.wait()


def duration(path: Path, kind: Kind) -> float | None:
    """The length that a file's header gives, in seconds; None if ffmpeg does not print it."""
    program = ffmpeg_program()
    if program is None:
        return None
    command = _input(program, path, kind.demuxer)
    command[command.index("error")] = "info"
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=IDLE_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = _DURATION.search(done.stderr.decode(errors="replace"))
    if match is None:
        return None
    hours, minutes, seconds = match.groups()
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
