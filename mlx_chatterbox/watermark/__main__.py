"""`python -m mlx_chatterbox.watermark`: detect the watermark in files, or apply it to one."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..commands.cli import add_version, run_command
from ..errors import AudioError
from ..runtime.apart import check_apart
from ..runtime.progress import Bars

if TYPE_CHECKING:
    import numpy as np

EXAMPLES = """\
examples:
  python -m mlx_chatterbox.watermark detect hello.wav podcast.mp3
      0.999 yes hello.wav
      0.004 no  podcast.mp3
  python -m mlx_chatterbox.watermark apply speech.wav marked.wav
      the same rate and channels; the ending of the name sets the format

The mark is PerTh, by Resemble AI. It is inaudible and survives MP3, resampling, changes of loudness
and cuts. A score of 0.5 or more means that the mark is there. Almost silent recordings and pure
tones can score high without it.
"""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m mlx_chatterbox.watermark",
        description="Detect or apply the watermark of recordings that were made by a machine.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--verbose", action="store_true", help="show tracebacks of errors")
    add_version(parser)
    commands = parser.add_subparsers(dest="command", required=True, metavar="detect | apply")
    detect = commands.add_parser(
        "detect",
        parents=[common],
        help="report for each file whether it is marked",
        description="Print a score from 0 to 1 and yes or no for each file. Exit code 0 if all are "
        "marked, 1 if not.",
    )
    detect.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="wav, flac, mp3, m4b, ..."
    )
    apply = commands.add_parser(
        "apply",
        parents=[common],
        help="mark a recording",
        description="Write a marked copy of a recording, with its rate and channels.",
    )
    apply.add_argument("input", type=Path, metavar="IN", help="wav, flac, mp3, m4a, ...")
    apply.add_argument("output", type=Path, metavar="OUT", help="its ending sets the format")
    return parser


def run(arguments: argparse.Namespace, _: Bars) -> int:
    """Run the command line; return the exit code."""
    if arguments.command == "apply":
        return _apply(arguments.input, arguments.output)
    return _detect(arguments.files)


def _apply(source: Path, target: Path) -> int:
    from ..audio.files import check_output, read_channels, save_audio
    from . import apply

    check_output(target)
    check_apart([(f"OUT {target}", target)], [(f"IN {source}", source)])
    samples, rate = read_channels(source)
    marked = apply(samples, rate)
    save_audio(target, marked, rate)
    print(f"{target}: {len(marked) / rate:.2f} s, marked")
    return 0


def _detect(files: list[Path]) -> int:
    from . import THRESHOLD, detect
    from .weights import weights_file

    weights_file()  # if it is missing: one error instead of one for each file
    all_marked = True
    for path in files:
        try:
            score = detect(*_beginning(path))
        except AudioError as error:
            message = str(error)
            if str(path) not in message:
                message = f"{path}: {message}"
            print(f"error: {message}", file=sys.stderr)
            all_marked = False
            continue
        marked = score >= THRESHOLD
        all_marked &= marked
        print(f"{score:.3f} {'yes' if marked else 'no '} {path}", flush=True)
    return 0 if all_marked else 1


def _beginning(path: Path) -> tuple[np.ndarray, int]:
    """Read a recording; of a very long one only the beginning, with a note on standard error."""
    from ..audio.blocks import TooLongError
    from ..audio.files import read_channels

    try:
        return read_channels(path)
    except TooLongError as error:
        hours = error.seconds / 3600
        print(f"note: {path}: only its first {hours:.1f} hours are checked", file=sys.stderr)
        return read_channels(path, seconds=error.seconds)


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    return run_command(build_parser(), argv, run)


if __name__ == "__main__":
    sys.exit(main())
