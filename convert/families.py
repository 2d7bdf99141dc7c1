"""Differences of the converter between the families of models."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from mlx_chatterbox.errors import CheckpointError
from mlx_chatterbox.models.config import CHATTTS_TYPE, FAMILIES, MODEL_TYPE
from mlx_chatterbox.weights.chattts_files import has_chattts_files
from mlx_chatterbox.weights.hub import family_of

from .model_card import chosen_license
from .verification import Verification


def family_in(folder: str | Path) -> str:
    """Tell the family of the model in a folder, of any layout; Chatterbox where it is unknown."""
    folder = Path(folder).expanduser()
    stated = family_of(folder)
    if stated is not None:
        return stated
    return CHATTTS_TYPE if has_chattts_files(folder) else MODEL_TYPE


def refuse_for(family: str, arguments: argparse.Namespace) -> None:
    """Raise CheckpointError for options that a family does not have."""
    options = {"--t3": arguments.t3, "--s3gen": arguments.s3gen}
    options["--word-errors"] = arguments.word_errors or None
    wrong = [name for name, value in options.items() if value is not None]
    if family != MODEL_TYPE and wrong:
        raise CheckpointError(
            f"{wrong[0]} is for Chatterbox; {arguments.source} holds {FAMILIES[family]}."
        )
    if arguments.upload_repo is not None:
        chosen_license(family, arguments.license)


def check_loads(folder: Path) -> None:
    """Raise CheckpointError unless a converted folder can be loaded."""
    if family_of(folder) == CHATTTS_TYPE:
        from mlx_chatterbox.weights.chattts import verify_chattts

        verify_chattts(folder)
    else:
        from mlx_chatterbox.weights.checkpoint import verify_folder

        verify_folder(folder)


def verify_folders(
    reference: Path, converted: Path, positions: int, word_errors: Sequence[str]
) -> Verification:
    """Compare a converted folder with the same model in float32.

    Args:
        reference: converted folder in float32, nothing quantised.
        positions: number of predictions to compare.
        word_errors: sentences to speak for the word error rate, of Chatterbox.
    """
    if family_of(converted) == CHATTTS_TYPE:
        from .chattts_verification import verify_chattts

        return verify_chattts(reference, converted, positions=positions)
    from .verification import verify

    return verify(reference, converted, positions=positions, word_errors=word_errors)
