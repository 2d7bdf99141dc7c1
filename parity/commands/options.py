"""Options that several commands have."""

from __future__ import annotations

import argparse
from pathlib import Path

from mlx_chatterbox.runtime.number_options import whole

from ..errors import ParityError
from ..settings import RunSettings
from ..tables.stage import CHATTTS
from ..taps.names import CALLS, CHATTTS_TAPPED_STAGES, TAPPED_STAGES


def variant(
    command: argparse.ArgumentParser,
    default: str | None = "english",
    shown: str = "",
) -> None:
    """Add `--variant`; with default None it is what the given weights are."""
    default_is = "english, or that of the weights" if default is None else "english"
    shown = shown or (
        f"english, multilingual, turbo, nano, flash, ..., or chattts (default: {default_is})"
    )
    command.add_argument("--variant", type=known_variant, default=default, help=shown)


def t3_file(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--t3", dest="t3_file", metavar="FILE", help="T3's file, if it has a name of its own"
    )


def precision(command: argparse.ArgumentParser, what: str, **how) -> None:
    names = ("float32", "float16", "bfloat16", "8bit", "4bit")
    command.add_argument("--precision", choices=names, help=f"{what} (default: float32)", **how)


def seed(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--seed",
        type=whole(0, 2**63 - 1),
        help="of everything random (default: 0; 2 for chattts, whose stored reference is of it)",
    )


def audio(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--audio", type=Path, metavar="WAV", help="reference recording; synthetic without it"
    )


def stages(command) -> None:
    """Add `--stages`, and `--calls` of a layer in each."""
    command.add_argument(
        "--stages", nargs="+", type=known_stage, metavar="STAGE", help="only these"
    )
    command.add_argument(
        "--calls",
        type=whole(1, 10_000),
        default=CALLS,
        metavar="N",
        help="calls of a layer that are compared in a stage (default: %(default)s)",
    )


def known_variant(text: str) -> str:
    from mlx_chatterbox.weights.variants import VARIANTS

    known = (*VARIANTS, CHATTTS)
    if text not in known:
        raise argparse.ArgumentTypeError(f"{text!r} is not one of {', '.join(known)}")
    return text


def known_stage(text: str) -> str:
    from fnmatch import fnmatchcase

    known = (*TAPPED_STAGES, *CHATTTS_TAPPED_STAGES)
    if not any(fnmatchcase(text, name) for name in known):
        raise argparse.ArgumentTypeError(f"{text!r} is not one of {', '.join(known)}")
    return text


def check_folders(*paths: Path | None) -> None:
    """Refuse outputs in missing folders before minutes of work, not after."""
    for path in paths:
        if path is not None and not path.absolute().parent.is_dir():
            raise ParityError(f"{path}: the folder {path.absolute().parent} does not exist.")


def settings(arguments: argparse.Namespace, **more) -> RunSettings:
    """Settings of a run, from the options of the same names, and `more`."""
    names = ("variant", "t3_file", "weights", "work", "seed", "audio", "reference_python")
    return RunSettings(**{name: getattr(arguments, name) for name in names}, **more)
