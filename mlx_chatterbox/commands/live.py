"""`--stream`: speech into a file, a pipe or the speakers while it is generated."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import SettingError
from ..longform.readers import is_timed
from ..runtime.progress import Bars
from ..runtime.streams import is_closed

if TYPE_CHECKING:
    import numpy as np

    from ..longform.plan import Piece
    from ..synthesis.result import Outcome

STANDARD_OUTPUT = Path("-")


def add_stream(parser: argparse.ArgumentParser) -> None:
    """Add `--stream` and `--raw`."""
    parser.add_argument(
        "--stream",
        action="store_true",
        help="output the audio while it is generated: with --play it starts after a fraction of "
        "the time, and --output - writes it to standard output",
    )
    parser.add_argument(
        "--raw",
        action="store_true",
        help="with --output -: write 16-bit PCM (24 kHz, mono, little-endian) without a WAV header",
    )


def check_stream(arguments: argparse.Namespace) -> None:
    """Check that the options fit `--stream`, and that standard output can be written to.

    Raises:
        SettingError: see the message.
    """
    to_pipe = arguments.output == STANDARD_OUTPUT
    if arguments.stream and arguments.file is not None and is_timed(arguments.file):
        raise SettingError("--stream cannot fit subtitles to their times: leave it out.")
    if to_pipe and not arguments.stream:
        raise SettingError("--output - streams to standard output: add --stream.")
    if arguments.raw and not to_pipe:
        raise SettingError("--raw is for standard output: add --stream --output -.")
    if to_pipe and is_closed(sys.stdout):
        raise SettingError("standard output is closed: leave out --output -, or pipe it somewhere.")
    if to_pipe and sys.stdout.isatty():
        raise SettingError("standard output is a terminal: pipe it to a player, or name a file.")


@dataclass
class SpeechSummary:
    """The figures of a command's speech, for the line that it prints at the end.

    Attributes:
        seconds: length of the audio.
        tokens: number of speech tokens.
        note: an addition to the line; "" for none.
        outcomes: one for each piece.
        stopped: whether all pieces ended before their limit of tokens.
    """

    seconds: float = 0.0
    tokens: int = 0
    note: str = ""
    outcomes: list[Outcome] = field(default_factory=list)
    stopped: bool = True


def speak_live(
    tts, pieces: Sequence[Piece], arguments: argparse.Namespace, bars: Bars, settings: dict
) -> SpeechSummary:
    """Stream pieces to the output that the command line names, and to the speakers with `--play`.

    Args:
        pieces: spoken one after the other; a single one uses `seed` as it is.
        settings: keyword arguments of `tts.stream`.
    """
    started = time.perf_counter()
    first, samples, broken = 0.0, 0, False
    summary = SpeechSummary()
    try:
        with ExitStack() as sinks:
            # The speakers last: closed first, they play to the end before the file appears.
            writes = [sinks.enter_context(_opened(arguments.output, tts.sr, arguments.raw))]
            if arguments.play:
                writes.append(sinks.enter_context(_playing(tts.sr)))
            with closing(_chunks(tts, pieces, bars, settings, summary)) as chunks:
                for chunk in chunks:
                    first = first or time.perf_counter() - started
                    for write in writes:
                        write(chunk)
                    samples += len(chunk)
            bars.close()
    except BrokenPipeError:
        broken = True
        _forget_standard_output()
    summary.seconds = samples / tts.sr
    summary.note = f", first audio after {first:.2f} s"
    if broken:
        summary.note += "; the reader closed the pipe before the end"
    return summary


def _chunks(
    tts, pieces: Sequence[Piece], bars: Bars, settings: dict, summary: SpeechSummary
) -> Generator[np.ndarray, None, None]:
    """Yield the audio of pieces and their pauses, each (n,) float32; fills in `summary`."""
    from ..audio.silence import silence_in_blocks
    from ..audio.stretch import checked_speed
    from ..runtime.seeds import piece_seeds

    seeds = piece_seeds(settings.get("seed"), len(pieces))
    for piece, seed in zip(pieces, seeds, strict=True):
        if piece.text:
            stream = tts.stream(piece.text, progress=bars, **{**settings, "seed": seed})
            with closing(stream):
                yield from stream
            summary.tokens += len(stream.result.tokens)
            summary.outcomes += stream.result.outcomes
            summary.stopped = summary.stopped and stream.result.stopped
        if piece.pause:
            seconds = piece.pause / checked_speed(settings.get("speed"))
            yield from silence_in_blocks(seconds, tts.sr)


@contextmanager
def _opened(output: Path, sample_rate: int, raw: bool) -> Iterator[Callable]:
    from ..audio.playback import PipeWriter
    from ..audio.writer import open_writer

    if output != STANDARD_OUTPUT:
        with open_writer(output, sample_rate) as writer:
            yield writer.write
        return
    pipe = PipeWriter(sys.stdout.buffer, sample_rate, raw)
    yield pipe.write
    pipe.close()


@contextmanager
def _playing(sample_rate: int) -> Iterator[Callable]:
    from ..audio.playback import Player

    player = Player(sample_rate)
    try:
        yield player.write
    except BaseException:
        player.abort()
        raise
    player.close()


def _forget_standard_output() -> None:
    """Redirect standard output, so that the interpreter's last flush meets no broken pipe."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
