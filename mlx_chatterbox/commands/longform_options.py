"""Options of `mlx-chatterbox` for long texts and for many texts, and their checks."""

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
    """Add the options of a long `--file`, some of which `--batch` shares."""
    group = parser.add_argument_group(
        "long texts (a --file longer than the model speaks at once)",
        "The text is spoken in pieces. Finished pieces are kept in OUTPUT.job, and the\n"
        "same command resumes where it stopped. After a change only the changed pieces\n"
        "are spoken again.",
    )
    group.add_argument(
        "--redo",
        type=numbers,
        default=[],
        metavar="N[,M]",
        help="speak these pieces again with another seed; OUTPUT.job/manifest.json has their "
        "numbers (7, 7,9 or 7-9)",
    )
    group.add_argument(
        "--subtitles",
        choices=FORMATS,
        help="also write timed subtitles next to the output (works with --text too)",
    )
    group.add_argument(
        "--ray",
        type=whole(1, 10_000),
        nargs="?",
        const=0,
        metavar="N",
        help="speak with N models in parallel on a Ray cluster or on this machine; without N, one "
        "for each GPU, or one for each machine if there are no GPUs (extra: ray)",
    )
    group.add_argument(
        "--chapters",
        type=lambda text: numbers(text, "chapter"),
        default=[],
        metavar="N[,M]",
        help="speak only these chapters of a book (2-5,8); the same command without this option "
        "later completes the book from the same pieces",
    )
    group.add_argument(
        "--list-chapters",
        action="store_true",
        help="speak nothing; print the chapters of --file, their words and expected minutes",
    )
    group.add_argument(
        "--no-sdh",
        action="store_true",
        help="leave out of subtitles (.srt, .vtt) what they describe for the deaf: [door slams], "
        "(SIGHS), JOHN:, songs between music notes",
    )


def add_many_texts(parser: argparse.ArgumentParser) -> None:
    """Add the options of `--batch`."""
    group = parser.add_argument_group(
        "many texts (--batch)",
        "A CSV file with a header and the columns text, voice, language, output, speed\n"
        "(only text is required), or a folder of texts. Each row becomes an audio file;\n"
        "report.csv lists the result of each. Existing outputs are kept unless their row\n"
        "has changed. --subtitles, --batch-size and --ray work here too.",
    )
    group.add_argument("--output-dir", type=Path, metavar="DIR", help="folder for the outputs")
    group.add_argument(
        "--output-format",
        default="wav",
        metavar="ENDING",
        help="audio format of outputs that the CSV file does not name (default: wav)",
    )


def numbers(text: str, what: str = "piece") -> list[int]:
    """Parse numbers of pieces, or of something else: "7", "7,9", "7-9".

    Args:
        what: the thing that is numbered, for messages.

    Raises:
        argparse.ArgumentTypeError: see the message.
    """
    result: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise argparse.ArgumentTypeError(f"{shown(part)} is not the number of a {what}")
        if max(len(first), len(last)) > _MOST_DIGITS:
            raise argparse.ArgumentTypeError(f"{shown(part)}: no text has so many {what}s")
        end = int(last if dash else first)
        if end < int(first):
            raise argparse.ArgumentTypeError(f"{shown(part)} is reversed: write {last}-{first}")
        if len(result) + end - int(first) >= _MOST_NUMBERS:
            raise argparse.ArgumentTypeError(f"{shown(part)}: no text has so many {what}s")
        result += range(int(first), end + 1)
    return result


def check_document_options(arguments: argparse.Namespace) -> None:
    """Raise SettingError if an option of documents is used with another kind of input."""
    name = "" if arguments.file is None else arguments.file.suffix.lower()
    for option in ("chapters", "list_chapters"):
        if getattr(arguments, option):
            shown = f"--{option.replace('_', '-')}"
            if name in SUBTITLES:
                raise SettingError(f"{shown} is for books: subtitles have no chapters.")
    if arguments.chapters and arguments.list_chapters:
        raise SettingError("--list-chapters lists all chapters: leave out --chapters.")
    if arguments.no_sdh and arguments.batch is None and name not in SUBTITLES:
        raise SettingError(f"--no-sdh is for subtitles: a {' or '.join(SUBTITLES)} --file.")
    if arguments.no_sdh and arguments.batch is not None and not _has_subtitles(arguments.batch):
        raise SettingError(
            f"--no-sdh is for subtitles, and {arguments.batch} is not a folder with a "
            f"{' or '.join(SUBTITLES)} file: leave it out."
        )


def _has_subtitles(folder: Path) -> bool:
    return folder.is_dir() and any(map(is_timed, folder.rglob("*")))


def check_batch_options(arguments: argparse.Namespace) -> None:
    """Raise SettingError if options of documents or of `--batch` contradict each other."""
    check_document_options(arguments)
    if arguments.batch_size is not None and arguments.batch_size < 1:
        raise SettingError(f"--batch-size must be 1 or more; got {arguments.batch_size}.")
    if arguments.batch is not None:
        if arguments.output_dir is None and not arguments.show_text:
            raise SettingError("--batch needs --output-dir, the folder for the outputs.")
        if not arguments.batch.exists():
            raise SettingError(f"--batch {arguments.batch}: no such file or folder.")
