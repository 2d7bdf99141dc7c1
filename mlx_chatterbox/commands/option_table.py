"""The modes of `mlx-chatterbox` in which each option has an effect; see `option_rules`."""

from __future__ import annotations

import argparse

from ..errors import SettingError
from ..runtime.option_rules import Rule, ignored

TEXT, SHORT, LONG = "--text", "a short --file", "a long --file"
STREAM, BATCH = "--stream", "--batch"
MODES = (TEXT, SHORT, LONG, STREAM, BATCH)
_ONE_TEXT = Rule((TEXT, SHORT, LONG, STREAM), "is for a single text, not for --batch")
_EVERYWHERE = Rule(MODES)

RULES = {
    # The text.
    "--text": Rule((TEXT, STREAM), "is a text of its own"),
    "--file": Rule((SHORT, LONG, STREAM), "is a text of its own"),
    "--batch": Rule((BATCH,), "is for many texts, each with its own file"),
    "--language": _EVERYWHERE,
    "--lexicon": _EVERYWHERE,
    "--normalize": _EVERYWHERE,
    # Speaks nothing itself.
    "--show-text": _EVERYWHERE,
    # The voice and the settings.
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
        (TEXT, SHORT, LONG, BATCH), "is for pieces that are generated together, not one by one"
    ),
    # Of Flash alone (`commands/flash.py`).
    "--num-steps": _EVERYWHERE,
    "--time-shift-tau": _EVERYWHERE,
    "--omnivoice-schedule-t-shift": _EVERYWHERE,
    "--position-temperature": _EVERYWHERE,
    "--pmi-uncond-prior-precompute": _EVERYWHERE,
    "--block-size": _EVERYWHERE,
    "--upstream-exact": Rule((TEXT, SHORT, STREAM), "is for comparing single texts"),
    # Of ChatTTS alone (`commands/chattts.py`).
    "--speaker": _EVERYWHERE,
    "--refine": _EVERYWHERE,
    "--prompt": _EVERYWHERE,
    "--speaker-statistics": _EVERYWHERE,
    "--homophones": _EVERYWHERE,
    "--lookahead": Rule((STREAM,), "is for --stream"),
    # The output.
    "--output": Rule((TEXT, SHORT, LONG, STREAM), "is for one text (--batch has --output-dir)"),
    "--output-dir": Rule((BATCH,), "goes with --batch; a single text has --output"),
    "--output-format": Rule((BATCH,), "goes with --batch; a single text has --output"),
    "--stream": Rule((STREAM,), "is for a single text"),
    "--raw": Rule((STREAM,), "is for standard output: add --stream --output -"),
    "--play": _ONE_TEXT,
    # Long texts.
    "--subtitles": Rule((TEXT, SHORT, LONG, BATCH), "needs the times of all speech"),
    "--redo": Rule((LONG,), "is for long texts (--file)"),
    "--chapters": Rule((SHORT, LONG), "is for books (--file)"),
    # Speaks nothing itself; settings may stand beside it for the same command without it.
    "--list-chapters": Rule((SHORT, LONG), "is for books (--file)"),
    "--no-sdh": Rule((SHORT, LONG, BATCH), "is for subtitles (--file or --batch)"),
    "--ray": Rule((LONG, BATCH), "is for long texts (--file) and for --batch"),
    # The program itself.
    "--check": _EVERYWHERE,
    "--verbose": _EVERYWHERE,
    "--version": _EVERYWHERE,
    "--help": _EVERYWHERE,
}


def modes_of(arguments: argparse.Namespace) -> tuple[str, ...]:
    """The modes that a command line may mean; before `--file` is read, it may be short or long."""
    if arguments.batch is not None:
        return (BATCH,)
    if arguments.stream:
        return (STREAM,)
    return (TEXT,) if arguments.file is None else (SHORT, LONG)


# Options that speak nothing, and options that need speech.
SILENT = ("--show-text", "--list-chapters")
NEED_SPEECH = ("--play", "--save-voice", "--redo")


def _silence_problem(options: frozenset[str]) -> str:
    """Describe options that contradict one that speaks nothing; "" if there are none."""
    silent = [name for name in SILENT if name in options]
    if len(silent) > 1:
        return f"{' and '.join(silent)}: use only one of them."
    wrong = [name for name in NEED_SPEECH if name in options]
    if silent and wrong:
        return f"{silent[0]} speaks nothing: leave out {' and '.join(wrong)}."
    return ""


def check_options(arguments: argparse.Namespace, modes: tuple[str, ...] | None = None) -> None:
    """Check that no option would be ignored.

    Args:
        modes: the modes that are still possible; None: those of the arguments.

    Raises:
        SettingError: an option would be.
    """
    problem = ignored(arguments.given, modes or modes_of(arguments), RULES)
    problem = problem or _silence_problem(arguments.given)
    if problem:
        raise SettingError(problem)
