"""The command line's `--stream`: speech into a file, a pipe or the speakers while it is made."""

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
    """`--stream` and what belongs to it."""
    parser.add_argument(
        "--stream",
        action="store_true",
        help="speak while writing: with --play the first words are heard after a fraction of the "
        "time, and --output - writes to standard output",
    )
    parser.add_argument(
        "--raw",
        action="store_true",
        help="with --output -: 16-bit PCM (24 kHz, mono, little-endian) without a header, not WAV",
    )


def check_stream(arguments: argparse.Namespace) -> None:
    """Find options that contradict each other.

    Raises:
        SettingError: see the message.
    """
    to_pipe = arguments.output == STANDARD_OUTPUT
    if arguments.stream and arguments.file is not None and is_timed(arguments.file):
        raise SettingError("subtitles are fitted to their times, which --stream cannot do.")
    if to_pipe and not arguments.stream:
        raise SettingError("--output - writes while it speaks: give --stream too.")
    if arguments.raw and not to_pipe:
        raise SettingError("--raw is for standard output: give --stream --output - too.")
    if to_pipe and is_closed(sys.stdout):
        raise SettingError("standard output is closed: leave out --output -, or pipe it somewhere.")
    if to_pipe and sys.stdout.isatty():
        raise SettingError("standard output is a terminal: pipe it to a player, or name a file.")


@dataclass
class Spoken:
    """What was said.

    Attributes:
        seconds: of speech.
        tokens: how many speech tokens.
        note: what else there is to tell.
        outcomes: of every piece.
        stopped: whether all of them ended before their limit.
    """

    seconds: float = 0.0
    tokens: int = 0
    note: str = ""
    outcomes: list[Outcome] = field(default_factory=list)
    stopped: bool = True


def speak_live(
    tts, pieces: Sequence[Piece], arguments: argparse.Namespace, bars: Bars, settings: dict
) -> Spoken:
    """Speak to wherever the command line says.

    Args:
        pieces: one after the other; a single one with `seed` as it is.
        settings: keyword arguments of `tts.stream`.
    """
    started = time.perf_counter()
    first, samples, broken = 0.0, 0, False
    said = Spoken()
    try:
        with ExitStack() as sinks:
            # The speakers last: closed first, they are heard to the end before a file appears.
            writes = [sinks.enter_context(_opened(arguments.output, tts.sr, arguments.raw))]
            if arguments.play:
                writes.append(sinks.enter_context(_playing(tts.sr)))
            with closing(_chunks(tts, pieces, bars, settings, said)) as chunks:
                for chunk in chunks:
                    first = first or time.perf_counter() - started
                    for write in writes:
                        write(chunk)
                    samples += len(chunk)
            bars.close()
    except BrokenPipeError:
        broken = True
        _forget_standard_output()
    said.seconds = samples / tts.sr
    said.note = f", the first of it after {first:.2f} s"
    if broken:
        said.note += "; whoever read it left before the end"
    return said


def _chunks(
    tts, pieces: Sequence[Piece], bars: Bars, settings: dict, said: Spoken
) -> Generator[np.ndarray, None, None]:
    from ..audio.silence import silence_in_blocks
    from ..audio.stretch import checked_speed
    from ..runtime.seeds import piece_seeds

    seeds = piece_seeds(settings.get("seed"), len(pieces))
    for piece, seed in zip(pieces, seeds, strict=True):
        if piece.text:
            stream = tts.stream(piece.text, progress=bars, **{**settings, "seed": seed})
            with closing(stream):
                yield from stream
            said.tokens += len(stream.result.tokens)
            said.outcomes += stream.result.outcomes
            said.stopped = said.stopped and stream.result.stopped
        if piece.pause:
            seconds = piece.pause / checked_speed(settings.get("speed"))
            yield from silence_in_blocks(seconds, tts.sr)


@contextmanager
def _opened(output: Path, sample_rate: int, raw: bool) -> Iterator[Callable]:
    from ..audio.live import PipeWriter
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
    from ..audio.live import Player

    player = Player(sample_rate)
    try:
        yield player.write
    except BaseException:
        player.abort()
        raise
    player.close()


def _forget_standard_output() -> None:
    """So that the interpreter does not stumble over the broken pipe when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
