"""Parts that all command lines share: choice of the model, playback, common options, exit codes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from ..errors import AudioError
from ..runtime.number_options import any_real
from ..runtime.program import run_program
from ..runtime.progress import Bars

# The models that `auto` looks for, best for English first.
AUTO = ("chatterbox", "turbo", "multilingual", "multilingual-v2", "nano")


def choose_model(name: str) -> str:
    """Resolve `auto` to the first model that is already on this machine; other names stay.

    Nothing is downloaded: if there is none, it is the small one in the package.
    """
    if name != "auto":
        return name
    from ..weights.hub import POCKET, on_this_machine, say_passed_over

    say_passed_over(name)

    for candidate in AUTO:
        folder = on_this_machine(candidate)
        if folder is not None:
            print(f"model: {candidate}, from {folder}", file=sys.stderr)
            return candidate
    print(
        "model: pocket, the small model in the package, which has a robotic voice; --model "
        "chatterbox downloads a full one (3 GB)",
        file=sys.stderr,
    )
    return POCKET


def play(waveform, sample_rate: int) -> None:
    """Play audio through the default device and wait until it ends.

    Args:
        waveform: (n,) float32.

    Raises:
        AudioError: the package sounddevice is missing, or there is no device.
    """
    from ..audio.playback import import_sounddevice

    sounddevice = import_sounddevice()
    try:
        sounddevice.play(waveform, sample_rate, blocking=True)
    except sounddevice.PortAudioError as error:
        raise AudioError(f"the audio cannot be played: {error}") from None


def add_common(parser: argparse.ArgumentParser) -> None:
    """Add `--play`, `--verbose` and `--version`."""
    parser.add_argument("--play", action="store_true", help="also play the audio (extra: play)")
    add_verbose(parser)
    add_version(parser)


def add_version(parser: argparse.ArgumentParser) -> None:
    from .._version import __version__

    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")


def add_check(parser: argparse.ArgumentParser) -> None:
    """Add `--check`, for every command that loads a model."""
    parser.add_argument(
        "--check",
        action="store_true",
        help="first verify every file of the model against its manifest.json; damage is an error",
    )


def add_speed(parser) -> None:
    """Add `--speed`, for every command that makes speech."""
    parser.add_argument(
        "--speed",
        type=any_real,
        metavar="N",
        help="speaking rate, 0.5 to 2, at the same pitch, pauses included (default: 1)",
    )


def add_watermark(parser) -> None:
    """Add `--no-watermark`, for every command that makes speech."""
    parser.add_argument(
        "--no-watermark",
        action="store_true",
        help="do not watermark the audio as synthetic (see python -m mlx_chatterbox.watermark)",
    )


def add_verbose(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--verbose", action="store_true", help="show the traceback of an error")


def run_command(
    parser: argparse.ArgumentParser,
    argv: list[str] | None,
    work: Callable[[argparse.Namespace, Bars], int | None],
) -> int:
    """Run a command that shows progress bars with `run_program`; returns the exit code."""
    progress = Bars()

    def with_bars(arguments: argparse.Namespace) -> int | None:
        try:
            return work(arguments, progress)
        finally:
            progress.close()

    return run_program(parser, argv, with_bars)
