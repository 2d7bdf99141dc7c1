"""Arrays on disk, one small file for each clip and feature, written whole or not at all.

    FOLDER/speech_tokens-3f9a.../c4/c41b....safetensors

The first folder names the feature and a hash of the network, the file the recording. So nothing is
changed in place: other weights, other settings or another recording have other files, several runs
may share a folder, and a process may be killed at any point. A damaged file counts as missing.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np

from ...checks.safetensors_header import read_header
from ...errors import CheckpointError
from ...runtime.own_files import whole_file

_CHECKSUM = "checksum"


def short_hash(*parts: str | bytes) -> str:
    """Hash a sequence of texts to 32 hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        content = part.encode() if isinstance(part, str) else part
        digest.update(str(len(content)).encode() + b":" + content)
    return digest.hexdigest()


class ArrayCache:
    """Arrays under a kind ("mel-3f9a...") and a key of hexadecimal digits."""

    def __init__(self, folder: str | os.PathLike):
        self._folder = Path(folder)

    def path(self, kind: str, key: str) -> Path:
        return self._folder / kind / key[:2] / f"{key}.safetensors"

    def has(self, kind: str, key: str) -> bool:
        """True if the file exists in full length; `read` checks its content."""
        try:
            return "array" in read_header(self.path(kind, key))
        except CheckpointError:
            return False

    def read(self, kind: str, key: str) -> np.ndarray | None:
        """Read an array; None if it is missing or damaged."""
        from safetensors import SafetensorError, safe_open

        if not self.has(kind, key):
            return None
        try:
            with safe_open(str(self.path(kind, key)), framework="numpy") as file:
                array = file.get_tensor("array")
                checksum = (file.metadata() or {}).get(_CHECKSUM)
        except (OSError, SafetensorError, TypeError, ValueError, AttributeError):  # bfloat16, too
            return None
        return array if checksum == _checksum(array) else None

    def write(self, kind: str, key: str, array: np.ndarray) -> None:
        from safetensors.numpy import save

        array = np.ascontiguousarray(array)
        path = self.path(kind, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        # The checksum detects files damaged by a power cut, so there is no fsync.
        with whole_file(path, durable=False) as file:
            file.write(save({"array": array}, {_CHECKSUM: _checksum(array)}))


def _checksum(array: np.ndarray) -> str:
    content = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return hashlib.blake2b(content.data, digest_size=8).hexdigest()
