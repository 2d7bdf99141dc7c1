"""Weights that several models have in common, stored once.

English, the multilinguals and the language packs have one S3Gen and one voice encoder, in files of
different formats. What counts is what was written: a part whose bytes are in the shared folder
already becomes a hard link to them. Every checkpoint folder stays whole by itself, and a file
system without hard links only costs the space.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def share(part: Path, digest: str, folder: Path) -> bool:
    """Make `part` one file with the one of the same content in `folder`, where there is one.

    Args:
        part: a finished file of a checkpoint that is being made.
        digest: hash of its bytes.
        folder: the shared folder; made if it is not there.

    Returns:
        Whether the content was there before.
    """
    folder.mkdir(parents=True, exist_ok=True)
    known = folder / f"{digest}.safetensors"
    try:
        os.link(part, known)
        return False
    except FileExistsError:
        pass
    except OSError:  # another file system, or one without hard links
        return False
    temporary = part.with_name(f".{part.name}.link")
    try:
        os.link(known, temporary)
        os.replace(temporary, part)
    except OSError:  # removed by another process just now
        temporary.unlink(missing_ok=True)
        return False
    return True


def prune(folder: Path) -> None:
    """Remove from the shared folder what no checkpoint has any more."""
    for path in folder.glob("*.safetensors"):
        with contextlib.suppress(OSError):
            if path.stat().st_nlink == 1:
                path.unlink()
