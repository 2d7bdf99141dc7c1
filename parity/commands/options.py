"""Options that several commands have."""

from __future__ import annotations

import argparse
from pathlib import Path

from mlx_chatterbox.models.config import CHATTTS_TYPE
from mlx_chatterbox.runtime.number_options import whole

from ..errors import ParityError
from ..settings import RunSettings
from ..taps.names import CALLS, TAPPED_STAGES


def variant(command: argparse.ArgumentParser, default: str | None = "english") -> None:
    """Add `--variant`; with default None it is what the given weights are."""
    shown = "default: english, or that of the weights" if default is None else "default: english"
    command.add_argument("--variant", type=known_variant, default=default, help=shown)


def any_model(command: argparse.ArgumentParser) -> None:
    """Add `--variant` with ChatTTS, which is no variant of Chatterbox."""
    command.add_argument(
        "--variant",
        type=lambda text: text if text == CHATTTS_TYPE else known_variant(text),
        default="english",
        help=f"of Chatterbox, or {CHATTTS_TYPE} (default: english)",
    )


def t3_file(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--t3", dest="t3_file", metavar="FILE", help="T3's file, if it has a name of its own"
    )


def precision(command: argparse.ArgumentParser, what: str, **how) -> None:
    names = ("float32", "float16", "bfloat16", "8bit", "4bit")
    command.add_argument("--precision", choices=names, help=f"{what} (default: float32)", **how)


def seed(command: argparse.ArgumentParser) -> None:
    command.add_argument("--seed", type=whole(0, 2**63 - 1), default=0, help="of everything random")


def audio(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--audio", type=Path, metavar="WAV", help="reference recording; synthetic without it"
    )


def stages(command) -> None:
    """Add `--stages`, and `--calls` of a layer in each."""
    command.add_argument(
        "--stages", nargs="+", choices=TAPPED_STAGES, metavar="STAGE", help="only these"
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

    if text not in VARIANTS:
        raise argparse.ArgumentTypeError(f"{text!r} is not one of {', '.join(VARIANTS)}")
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
