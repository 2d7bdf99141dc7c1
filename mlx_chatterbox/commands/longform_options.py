"""The command line's options for long texts and for many texts, and what they mean."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..checks.plain import shown
from ..errors import SettingError
from ..longform.readers import SUBTITLES, is_timed
from ..longform.subtitles import FORMATS
from ..runtime.number_options import whole

BATCH_SIZE = 8
_MOST_NUMBERS, _MOST_DIGITS = 1_000_000, 20


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
        "--subtitles",
        choices=FORMATS,
        help="write subtitles beside the output, with its times (of --text too)",
    )
    group.add_argument(
        "--ray",
        type=whole(1, 10_000),
        nargs="?",
        const=0,
        metavar="N",
        help="speak with N models at once on the machines of a Ray cluster, or on this one; "
        "without N one for each GPU, or for each machine if there are none (extra: ray)",
    )

    group.add_argument(
        "--chapters",
        type=lambda text: numbers(text, "chapter"),
        default=[],
        metavar="N[,M]",
        help="of a book, speak these chapters alone (2-5,8); the pieces are those of the whole "
        "book, which the same command without this completes",
    )
    group.add_argument(
        "--list-chapters",
        action="store_true",
        help="print the chapters of --file, their words and expected minutes, and speak nothing",
    )
    group.add_argument(
        "--no-sdh",
        action="store_true",
        help="of subtitles (.srt, .vtt), leave out what they have for the deaf: [door slams], "
        "(SIGHS), JOHN:, songs between notes of music",
    )


def add_many_texts(parser: argparse.ArgumentParser) -> None:
    """What only `--batch` has."""
    group = parser.add_argument_group(
        "many texts (--batch)",
        "A CSV file with a header and the columns text, voice, language, output, speed\n"
        "(all but text may be missing), or a folder of texts. Each row becomes a file;\n"
        "report.csv says what came of each. Outputs that are there are kept unless their\n"
        "row has changed. --subtitles, --batch-size and --ray count here too.",
    )
    group.add_argument("--output-dir", type=Path, metavar="DIR", help="where the outputs go")
    group.add_argument(
        "--output-format",
        default="wav",
        metavar="ENDING",
        help="of outputs that have no name in the CSV file (wav)",
    )


def numbers(text: str, what: str = "piece") -> list[int]:
    """Numbers of pieces, or of something else: "7", "7,9", "7-9"."""
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise argparse.ArgumentTypeError(f"{shown(part)} is no number of a {what}")
        if max(len(first), len(last)) > _MOST_DIGITS:
            raise argparse.ArgumentTypeError(f"{shown(part)}: no text has so many {what}s")
        end = int(last if dash else first)
        if end < int(first):
            raise argparse.ArgumentTypeError(f"{shown(part)} runs backwards: write {last}-{first}")
        if len(found) + end - int(first) >= _MOST_NUMBERS:
            raise argparse.ArgumentTypeError(f"{shown(part)}: no text has so many {what}s")
        found += range(int(first), end + 1)
    return found


def check_document_options(arguments: argparse.Namespace) -> None:
    """Raise SettingError where options of documents are given for something else."""
    name = "" if arguments.file is None else arguments.file.suffix.lower()
    for option in ("chapters", "list_chapters"):
        if getattr(arguments, option):
            shown = f"--{option.replace('_', '-')}"
            if name in SUBTITLES:
                raise SettingError(f"{shown} is of books: subtitles have no chapters.")
    if arguments.chapters and arguments.list_chapters:
        raise SettingError("--list-chapters lists all of them: leave out --chapters.")
    if arguments.no_sdh and arguments.batch is None and name not in SUBTITLES:
        raise SettingError(f"--no-sdh is of subtitles: a --file in {' or '.join(SUBTITLES)}.")
    if arguments.no_sdh and arguments.batch is not None and not _has_subtitles(arguments.batch):
        raise SettingError(
            f"--no-sdh is of subtitles, and {arguments.batch} is no folder with a "
            f"{' or '.join(SUBTITLES)} in it: leave it out."
        )


def _has_subtitles(folder: Path) -> bool:
    return folder.is_dir() and any(map(is_timed, folder.rglob("*")))


def check_batch_options(arguments: argparse.Namespace) -> None:
    """Raise SettingError where options do not go together."""
    check_document_options(arguments)
    if arguments.batch_size is not None and arguments.batch_size < 1:
        raise SettingError(f"--batch-size must be 1 or more; got {arguments.batch_size}.")
    if arguments.batch is not None:
        if arguments.output_dir is None and not arguments.show_text:
            raise SettingError("--batch needs --output-dir, where the outputs go.")
        if not arguments.batch.exists():
            raise SettingError(f"--batch {arguments.batch}: there is no such file or folder.")
