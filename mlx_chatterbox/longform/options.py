"""The command line's options for long texts and for many texts, and what they mean."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..errors import SettingError
from .subtitles import FORMATS

BATCH_SIZE = 8


def add_long_text(parser: argparse.ArgumentParser) -> None:
    """What only a long `--file` has, and what it shares with `--batch`."""
    group = parser.add_argument_group(
        "long texts (a --file that is more than the model says at once)",
        "Spoken piece by piece; what is finished is kept in OUTPUT.job, and the same\n"
        "command goes on where it stopped. After a change only the changed pieces are\n"
        "spoken.",
    )
    group.add_argument(
        "--redo",
        type=numbers,
        default=[],
        metavar="N[,M]",
        help="speak these pieces again, with another seed; their numbers are in "
        "OUTPUT.job/manifest.json (7, 7,9 or 7-9)",
    )
    group.add_argument(
        "--subtitles", choices=FORMATS, help="write subtitles beside the output, with its times"
    )
    group.add_argument(
        "--ray",
        type=_at_least_one,
        nargs="?",
        const=0,
        metavar="N",
        help="speak with N models at once on the machines of a Ray cluster, or on this one; "
        "without N one for each GPU, or for each machine if there are none (extra: ray)",
    )


def add_many_texts(parser: argparse.ArgumentParser) -> None:
    """What only `--batch` has."""
    group = parser.add_argument_group(
        "many texts (--batch)",
        "A CSV file with a header and the columns text, voice, language, output (all but\n"
        "text may be missing), or a folder of texts. Each row becomes a file; report.csv\n"
        "says what came of each. Outputs that are there are kept unless their row has\n"
        "changed. --subtitles, --batch-size and --ray count here too.",
    )
    group.add_argument("--output-dir", type=Path, metavar="DIR", help="where the outputs go")
    group.add_argument(
        "--output-format",
        default="wav",
        metavar="ENDING",
        help="of outputs that have no name in the CSV file (wav)",
    )


def _at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return number


def numbers(text: str) -> list[int]:
    """Numbers of pieces: "7", "7,9", "7-9"."""
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise argparse.ArgumentTypeError(f"{part!r} is no number of a piece")
        found += range(int(first), int(last if dash else first) + 1)
    return found


def check_batch_options(arguments: argparse.Namespace) -> None:
    """Raise SettingError where options do not go together."""
    if arguments.batch_size is not None and arguments.batch_size < 1:
        raise SettingError(f"--batch-size must be 1 or more; got {arguments.batch_size}.")
    if arguments.batch is not None:
        if arguments.output_dir is None and not arguments.show_text:
            raise SettingError("--batch needs --output-dir, where the outputs go.")
        for name in ("redo", "play", "save_voice"):
            if getattr(arguments, name):
                raise SettingError(f"--{name.replace('_', '-')} is of one text, not of --batch.")
        if not arguments.batch.exists():
            raise SettingError(f"--batch {arguments.batch}: there is no such file or folder.")
    elif arguments.output_dir is not None:
        raise SettingError("--output-dir goes with --batch; one text has --output.")
