"""Which option of `mlx-chatterbox` means something in which mode; see `option_rules`."""

from __future__ import annotations

import argparse

from ..errors import SettingError
from ..runtime.option_rules import Rule, ignored

TEXT, SHORT, LONG = "--text", "a short --file", "a long --file"
STREAM, BATCH = "--stream", "--batch"
MODES = (TEXT, SHORT, LONG, STREAM, BATCH)
_ONE_TEXT = Rule((TEXT, SHORT, LONG, STREAM), "is of one text, not of --batch")
_EVERYWHERE = Rule(MODES)

RULES = {
    # What is said.
    "--text": Rule((TEXT, STREAM), "is a text of its own"),
    "--file": Rule((SHORT, LONG, STREAM), "is a text of its own"),
    "--batch": Rule((BATCH,), "is of many texts, each into a file of its own"),
    "--language": _EVERYWHERE,
    "--lexicon": _EVERYWHERE,
    "--normalize": _EVERYWHERE,
    # With it nothing is spoken, too.
    "--show-text": _EVERYWHERE,
    # Who says it, and how.
    "--model": _EVERYWHERE,
    "--dtype": _EVERYWHERE,
    "--voice": _EVERYWHERE,
    "--save-voice": _ONE_TEXT,
    "--seed": _EVERYWHERE,
    "--temperature": _EVERYWHERE,
    "--cfg-weight": _EVERYWHERE,
    "--exaggeration": _EVERYWHERE,
    "--repetition-penalty": _EVERYWHERE,
    "--min-p": _EVERYWHERE,
    "--top-p": _EVERYWHERE,
    "--top-k": _EVERYWHERE,
    "--max-new-tokens": _EVERYWHERE,
    "--cfm-steps": _EVERYWHERE,
    "--no-guard": _EVERYWHERE,
    "--speed": _EVERYWHERE,
    "--no-watermark": _EVERYWHERE,
    "--batch-size": Rule(
        (TEXT, SHORT, LONG, BATCH), "is of pieces that are written together, not one by one"
    ),
    # Where it goes.
    "--output": Rule((TEXT, SHORT, LONG, STREAM), "is of one text (--batch has --output-dir)"),
    "--output-dir": Rule((BATCH,), "goes with --batch; one text has --output"),
    "--output-format": Rule((BATCH,), "goes with --batch; one text has --output"),
    "--stream": Rule((STREAM,), "speaks one text at once"),
    "--raw": Rule((STREAM,), "is for standard output: give --stream --output - too"),
    "--play": _ONE_TEXT,
    # What a long text has beside its sound.
    "--subtitles": Rule((TEXT, SHORT, LONG, BATCH), "needs the times of what was said"),
    "--redo": Rule((LONG,), "is of long texts (--file)"),
    "--chapters": Rule((SHORT, LONG), "is of a book (--file)"),
    # With it nothing is spoken, and whatever says how is kept for the same command without it.
    "--list-chapters": Rule((SHORT, LONG), "is of a book (--file)"),
    "--no-sdh": Rule((SHORT, LONG, BATCH), "is of subtitles (--file or --batch)"),
    "--ray": Rule((LONG, BATCH), "is of long texts (--file) and of --batch"),
    # About the program.
    "--check": _EVERYWHERE,
    "--verbose": _EVERYWHERE,
    "--version": _EVERYWHERE,
    "--help": _EVERYWHERE,
}


def modes_of(arguments: argparse.Namespace) -> tuple[str, ...]:
    """What a command line means; of a file it is not known yet whether it is long."""
    if arguments.batch is not None:
        return (BATCH,)
    if arguments.stream:
        return (STREAM,)
    return (TEXT,) if arguments.file is None else (SHORT, LONG)


# What is done with speech, and so is not where nothing is spoken.
SILENT = ("--show-text", "--list-chapters")
OF_SPEECH = ("--play", "--save-voice", "--redo")


def _of_silence(given: frozenset[str]) -> str:
    """What is wrong with options beside one with which nothing is spoken; "" for nothing."""
    silent = [name for name in SILENT if name in given]
    if len(silent) > 1:
        return f"{' and '.join(silent)}: give one of them."
    wrong = [name for name in OF_SPEECH if name in given]
    if silent and wrong:
        return f"{silent[0]} speaks nothing: leave out {' and '.join(wrong)}."
    return ""


def check_options(arguments: argparse.Namespace, modes: tuple[str, ...] | None = None) -> None:
    """Find options that would be ignored.

    Args:
        modes: what is known by now; None: what the arguments say.

    Raises:
        SettingError: there is one.
    """
    wrong = ignored(arguments.given, modes or modes_of(arguments), RULES)
    wrong = wrong or _of_silence(arguments.given)
    if wrong:
        raise SettingError(wrong)
