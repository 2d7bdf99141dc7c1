"""The command line's `--stream`: speech into a file, a pipe or the speakers while it is made."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from .cli import Bars
from .errors import SettingError

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
    if to_pipe and not arguments.stream:
        raise SettingError("--output - writes while it speaks: give --stream too.")
    if arguments.raw and not to_pipe:
        raise SettingError("--raw is for standard output: give --stream --output - too.")
    if to_pipe and sys.stdout.isatty():
        raise SettingError("standard output is a terminal: pipe it to a player, or name a file.")


def speak_live(
    tts, text: str, arguments: argparse.Namespace, bars: Bars, settings: dict
) -> tuple[float, str]:
    """Speak `text` to wherever the command line says.

    Args:
        settings: keyword arguments of `tts.stream`.

    Returns:
        Seconds of speech, and what else there is to tell.
    """
    started = time.perf_counter()
    first, samples, broken = 0.0, 0, False
    chunks = tts.stream(text, progress=bars, **settings)
    try:
        with ExitStack() as sinks:
            # The speakers last: closed first, they are heard to the end before a file appears.
            writes = [sinks.enter_context(_opened(arguments.output, tts.sr, arguments.raw))]
            if arguments.play:
                writes.append(sinks.enter_context(_playing(tts.sr)))
            for chunk in chunks:
                first = first or time.perf_counter() - started
                for write in writes:
                    write(chunk)
                samples += len(chunk)
            bars.close()
    except BrokenPipeError:
        broken = True
        _forget_standard_output()
    finally:
        chunks.close()
    note = f", the first of it after {first:.2f} s"
    if broken:
        note += "; whoever read it left before the end"
    return samples / tts.sr, note


@contextmanager
def _opened(output: Path, sample_rate: int, raw: bool) -> Iterator[Callable]:
    from .audio.live import PipeWriter
    from .audio.writer import open_writer

    if output != STANDARD_OUTPUT:
        with open_writer(output, sample_rate) as writer:
            yield writer.write
        return
    writer = PipeWriter(sys.stdout.buffer, sample_rate, raw)
    yield writer.write
    writer.close()


@contextmanager
def _playing(sample_rate: int) -> Iterator[Callable]:
    from .audio.live import Player

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
