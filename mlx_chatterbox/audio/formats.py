"""The format of a file to write, by its ending, and checks that it can be written."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ..errors import AudioError

# Endings that libsndfile knows under another name: format, and subtype where not the default.
_ALIASES = {"OPUS": ("OGG", "OPUS"), "OGA": ("OGG", None), "AIF": ("AIFF", None)}
USUAL = ".wav, .flac, .ogg, .opus, .mp3 or .m4b"
# AAC, with chapters; ffmpeg writes it, libsndfile cannot.
BOOK = ("M4B", "AAC")
_BOOK_ENDINGS = ("M4B", "M4A")


def reason_of(error: Exception) -> str:
    """The message of another library's error, without the path, which ours names already."""
    text = getattr(error, "error_string", None) or getattr(error, "strerror", None) or str(error)
    return " ".join(str(text).split()).rstrip(".")


def format_of(path: Path) -> tuple[str, str]:
    """Format and subtype for the ending of a path: libsndfile's, or `BOOK`.

    Raises:
        AudioError: the ending is unknown, or this libsndfile is too old for the format.
    """
    import soundfile

    ending = path.suffix[1:].upper()
    if ending in _BOOK_ENDINGS:
        return BOOK
    container, subtype = _ALIASES.get(ending, (ending, None))
    # Headerless samples cannot be read back.
    if container not in soundfile.available_formats() or container == "RAW":
        what = f"ending {path.suffix!r}" if ending else "missing ending"
        raise AudioError(f"{path}: the {what} names no known audio format; use {USUAL}.")
    if subtype is not None and subtype not in soundfile.available_subtypes(container):
        raise AudioError(f"{path}: this libsndfile writes no {subtype}; use .wav or .flac.")
    return container, subtype or soundfile.default_subtype(container)


def check_output(path: str | os.PathLike) -> tuple[str, str]:
    """Check that a file can be written, before the work for it; return its format and subtype.

    Raises AudioError if the ending is unknown, the folder does not exist, the path is a folder, or
    the format needs ffmpeg and there is none.
    """
    path = Path(path)
    formats = format_of(path)
    try:
        is_folder = stat.S_ISDIR(os.stat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        is_folder = False
    except (OSError, ValueError) as error:  # too long, or with a zero character
        raise AudioError(f"{path} cannot be written ({reason_of(error)}).") from None
    if is_folder:
        raise AudioError(f"{path} is a folder: name a file to write to.")
    if not os.path.isdir(path.parent):
        raise AudioError(f"There is no folder {path.parent}: create it, or write elsewhere.")
    if formats == BOOK:
        from .m4b import find_ffmpeg

        find_ffmpeg()
    return formats
