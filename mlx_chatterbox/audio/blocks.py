"""Recordings block by block, without trust in the length that a file's header gives.

The header of a one-second FLAC file may claim 2^36 samples, and ten hours of silence take a
megabyte, or none in a sparse file. So memory is taken as samples come, and up to a limit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from ..errors import AudioError

# Rates in Hz. Resampled, a second of 1 Hz would become thousands.
MIN_RATE, MAX_RATE = 1_000, 384_000
# Limits of a recording that is read whole; samples of all channels together, 2 GiB as float32.
MAX_SECONDS, MAX_SAMPLES = 6 * 3600, 2**29
# The limit of a recording that comes through a pipe.
MAX_PIPED_BYTES = 2**29
_BLOCK_SAMPLES = 2**20


class TooLongError(AudioError):
    """A recording is longer than what is read at once.

    Attributes:
        seconds: the length of its beginning that can be read.
    """

    def __init__(self, message: str, seconds: float):
        super().__init__(message)
        self.seconds = seconds


def check_rate(rate: int, name: str) -> None:
    """Check a file's sample rate, in Hz.

    Raises:
        AudioError: it is outside `MIN_RATE` to `MAX_RATE`.
    """
    if not MIN_RATE <= rate <= MAX_RATE:
        raise AudioError(
            f"{name} says that its sample rate is {rate} Hz: rates from {MIN_RATE} to {MAX_RATE} "
            "Hz can be read. Its header is damaged, or it is not a recording."
        )


def check_finite_samples(samples: np.ndarray, what: str) -> None:
    """Check the samples of a recording.

    Args:
        what: a name of the recording, for the error.

    Raises:
        AudioError: a sample is NaN or infinite.
    """
    if not np.isfinite(samples).all():
        raise AudioError(f"{what} contains NaN or infinite samples: give clean audio.")


def sound_blocks(
    sound, frames: int | None = None, at_once: int | None = None
) -> Iterator[np.ndarray]:
    """Yield the samples of an open `soundfile.SoundFile`, (n, channels) float32 each, n > 0.

    Args:
        frames: the most samples of a channel; None: all.
        at_once: the n of all blocks but the last.
    """
    most = at_once or max(1, _BLOCK_SAMPLES // sound.channels)
    while frames is None or frames > 0:
        block = sound.read(
            most if frames is None else min(most, frames), dtype="float32", always_2d=True
        )
        if len(block) == 0:
            return
        if frames is not None:
            frames -= len(block)
        yield block


def collected(blocks: Iterable[np.ndarray], channels: int, rate: int, name: str) -> np.ndarray:
    """Join blocks into one array, (n, channels) float32.

    Raises:
        TooLongError: they are longer than what is read at once.
    """
    most = min(MAX_SECONDS * rate, MAX_SAMPLES // channels)
    first, kept, frames = None, bytearray(), 0
    for block in blocks:
        frames += len(block)
        if frames > most:
            seconds = most / rate
            raise TooLongError(
                f"{name} lasts more than {seconds / 3600:.1f} hours: that is too long to be read "
                "at once. Cut it into parts.",
                seconds,
            )
        if first is None:
            first = block
            continue
        if not kept:
            kept += np.ascontiguousarray(first).data.cast("B")
        # It grows in place: the samples are never in memory twice.
        kept += np.ascontiguousarray(block).data.cast("B")
    if first is None:
        return np.zeros((0, channels), np.float32)
    return np.frombuffer(kept, np.float32).reshape(-1, channels) if kept else first
