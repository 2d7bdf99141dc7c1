"""Recognition of a folder's layout by its files.

- `upstream`: Resemble AI's own files (`upstream_folder.py`), which our trainer can write too. S3Gen
  may come in Hugging Face's layout instead.
  ChatTTS's own files (`chattts_folder.py`) are upstream's too.
- `mlx-audio`: the models of mlx-community (`community_folder.py`), in any precision.
- `mlx-chatterbox`: our own checkpoints (`own_folder.py`), packed ones included, to be converted
  again, and our trainer's output.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mlx_chatterbox.errors import CheckpointError
from mlx_chatterbox.models.config import CHATTTS_TYPE, CONFIG_NAME, FAMILIES
from mlx_chatterbox.weights.hub import family_of, is_converted
from mlx_chatterbox.weights.shards import is_there

from ..chattts_files import has_chattts_files
from .chattts_folder import chattts_source
from .community_folder import community_source
from .model_source import COMMUNITY, OURS, UPSTREAM, Source
from .own_folder import own_source
from .s3gen_folder import is_s3gen
from .sources import WEIGHTS_NAME, UnknownFolder, open_weights, stated_type
from .upstream_folder import upstream_source
from .wrong_folders import looks_like, refuse_pointers, refuse_without_configuration

# The model in our trainer's output folder.
FINAL_NAME = "final_model"


def recognise(
    folder: Path,
    variant: str | None = None,
    t3_file: str | None = None,
    s3gen: Path | None = None,
    speech_tokenizer: Callable[[], Path] | None = None,
) -> Source:
    """Recognise the model in `folder`.

    Args:
        variant, t3_file: which of several models, as in `find_source`.
        s3gen: a folder or file with another S3Gen than the model's, upstream's or Hugging Face's.
        speech_tokenizer: downloads mlx-audio's separate speech tokenizer, if it is not beside the
            folder, and returns the file.

    Raises:
        CheckpointError: there is no known model; names what was looked for and what is there.
    """
    if not is_converted(folder) and is_converted(folder / FINAL_NAME):
        folder = folder / FINAL_NAME
    layout = stated_layout(folder)
    is_chattts = variant == CHATTTS_TYPE or (layout == UPSTREAM and has_chattts_files(folder))
    if is_chattts or family_of(folder) == CHATTTS_TYPE:
        return _chattts(folder, layout, variant, t3_file, s3gen)
    if layout != UPSTREAM and s3gen is not None:
        raise CheckpointError(f"--s3gen needs upstream's files; {folder} has an S3Gen of its own.")
    if layout == OURS:
        return own_source(folder, variant)
    if layout == COMMUNITY:
        return community_source(folder, variant, speech_tokenizer)
    refuse_without_configuration(folder)
    if s3gen is None and is_s3gen(folder / WEIGHTS_NAME):
        s3gen = folder / WEIGHTS_NAME
        if not any(folder.glob("t3_*")) and variant is None:
            raise CheckpointError(
                f"{folder} holds only S3Gen, in Hugging Face's layout, which cannot speak without "
                f"a T3: name a model as SOURCE, and this folder by --s3gen {folder}."
            )
    try:
        return upstream_source(folder, variant, t3_file, s3gen)
    except UnknownFolder as error:
        refuse_pointers(folder)
        raise CheckpointError(f"{error} {looks_like(folder)}".strip()) from None


def _chattts(
    folder: Path, layout: str, variant: str | None, t3_file: str | None, s3gen: Path | None
) -> Source:
    """Describe a folder of ChatTTS; arguments and errors as in `recognise`."""
    if t3_file is not None or s3gen is not None:
        raise CheckpointError(
            f"{'--s3gen' if t3_file is None else '--t3'} is for Chatterbox; {folder} holds ChatTTS."
        )
    if layout != UPSTREAM:
        return own_source(folder, variant)
    if variant not in (None, CHATTTS_TYPE):
        raise CheckpointError(f"{folder} holds {CHATTTS_TYPE}, not {variant}.")
    return chattts_source(folder)


def stated_layout(folder: Path) -> str:
    """Determine the layout by configuration and keys; `UPSTREAM` if it is neither of the others."""
    if is_converted(folder) and stated_type(folder) in (None, *FAMILIES):
        return OURS
    path = folder / WEIGHTS_NAME
    if is_there(path) and (folder / CONFIG_NAME).is_file():
        prefixes = {key.partition(".")[0] for key in open_weights(path).shapes}
        if {"ve", "t3", "s3gen"} <= prefixes:
            return COMMUNITY
    return UPSTREAM
