"""Options that several commands have."""

from __future__ import annotations

import argparse
from pathlib import Path

from mlx_chatterbox.number_options import whole

from .errors import ParityError


def variant(command: argparse.ArgumentParser, default: str | None = "english") -> None:
    """Which model; None: what the given weights are."""
    shown = "default: english, or what the weights are" if default is None else "default: english"
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
        "--seed", type=whole(0, 2**63 - 1), default=0, help="of all that is made up"
    )


def audio(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--audio", type=Path, metavar="WAV", help="reference recording; synthetic without it"
    )


def known_variant(text: str) -> str:
    from mlx_chatterbox.variants import VARIANTS

    if text not in VARIANTS:
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(VARIANTS)}")
    return text


def check_folders(*paths: Path | None) -> None:
    """Refuse outputs in folders that are not there before minutes of work, not after."""
    for path in paths:
        if path is not None and not path.absolute().parent.is_dir():
            raise ParityError(f"{path}: the folder {path.absolute().parent} does not exist.")
