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

from mlx_chatterbox.runtime.own_files import is_regular
from mlx_chatterbox.weights.manifest import sha256


def link_shared(part: Path, digest: str, folder: Path) -> bool:
    """Make `part` one file with the one of the same content in `folder`, where there is one.

    Args:
        part: a finished file of a checkpoint that is being made.
        digest: SHA-256 of its bytes.
        folder: the shared folder; made if it does not exist.

    Returns:
        Whether the content was there before. A file of that name with other content is left
        alone, and not used.
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
    temporary = part.with_name(f".{os.urandom(8).hex()}.tmp")
    try:
        os.link(known, temporary)
        # Checked under the second name, which no other process knows.
        if not is_regular(temporary) or sha256(temporary) != digest:
            return False
        os.replace(temporary, part)
    except OSError:  # removed by another process just now
        return False
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    return True


def prune(folder: Path) -> None:
    """Remove files from the shared folder that no checkpoint has any more."""
    for path in folder.glob("*.safetensors"):
        with contextlib.suppress(OSError):
            if path.stat().st_nlink == 1:
                path.unlink()
