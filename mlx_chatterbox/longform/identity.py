"""Hashes of everything that a piece is made from, so that only changed pieces are spoken again.

The seed of a piece is derived from the job's seed, its text and the number of earlier pieces with
the same text, not from its number: a sentence inserted before it changes nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..checks.json_file import read_json
from ..models.config import CONFIG_NAME
from ..weights.manifest import sha256

# Files of a checkpoint that do not affect its speech.
_SILENT_ENDINGS = (".md", ".tmp", ".lock")
_SILENT_NAMES = ("manifest.json", "conds.safetensors", "conds.pt")

# Hashes of files that were read before, by path: size, modification time in ns, SHA-256.
FileHashes = dict[str, list]


def digest(values: Any) -> str:
    """Hash values that JSON can hold; 32 hexadecimal digits."""
    text = json.dumps(values, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def seed_from(*values: Any) -> int:
    """Derive a seed, 0 to 2^63 - 1, from values that JSON can hold."""
    return int(digest(values)[:16], 16) >> 1


def occurrences(texts: Iterable[str]) -> list[str]:
    """Name each text by itself and the number of equal texts before it."""
    before: Counter[str] = Counter()
    names = []
    for text in texts:
        names.append(digest([text, before[text]]))
        before[text] += 1
    return names


def file_hash(path: Path, hashes: FileHashes) -> str:
    """SHA-256 of a file; one whose size and modification time are unchanged is not read again."""
    status = path.stat()
    name, seen = str(path.resolve()), [status.st_size, status.st_mtime_ns]
    if hashes.get(name, [])[:2] != seen:
        hashes[name] = [*seen, sha256(path)]
    return hashes[name][2]


def model_hash(folder: Path, hashes: FileHashes) -> str:
    """Hash a checkpoint folder: weights, configuration, tokenizer.

    Left out are the built-in voice and the settings of the configuration that change nothing of how
    a text is spoken: of fine-tuning, and `normalize`, which changes the texts; these are hashed
    themselves.
    """
    files = {
        path.name: _config_hash(path) if path.name == CONFIG_NAME else file_hash(path, hashes)
        for path in sorted(folder.iterdir())
        if path.is_file()
        and path.suffix not in _SILENT_ENDINGS
        and path.name not in _SILENT_NAMES
        and not path.name.startswith(".")
    }
    return digest(files)


def _config_hash(path: Path) -> str:
    """SHA-256 of a configuration as it is without the settings that change no speech.

    Jobs that were begun before there were such settings go on: without them the file is hashed as
    it is, else as we write it.
    """
    content = path.read_bytes()
    values = read_json(path)
    text = values.get("text")
    silent = [(values, "fine_tuning"), (text if isinstance(text, dict) else {}, "normalize")]
    if any(name in section for section, name in silent):
        for section, name in silent:
            section.pop(name, None)
        content = f"{json.dumps(values, indent=2)}\n".encode()
    return hashlib.sha256(content).hexdigest()


def piece_key(text: str, seed: int, identity: str) -> str:
    """The key under which a piece is stored.

    Args:
        identity: hash of everything else: model, voice, settings.
    """
    return digest([text, seed, identity])


def settings_hash(model: str, voice: str, settings: Mapping[str, Any]) -> str:
    """Hash the model, voice and settings that pieces are spoken with."""
    return digest({"model": model, "voice": voice, "settings": dict(settings)})
