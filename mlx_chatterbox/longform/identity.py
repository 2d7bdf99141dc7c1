"""What a piece is made from, as hashes: whatever changes makes another piece, the rest stays.

The seed of a piece follows from the job's seed, its own text and how many pieces with the same text
stand before it, not from its number: a sentence that is put in front of it changes nothing.
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

# Files of a checkpoint that change nothing of how it speaks.
_SILENT_ENDINGS = (".md", ".tmp", ".lock")
_SILENT_NAMES = ("manifest.json", "conds.safetensors", "conds.pt")

# Of files that were hashed before: size, time of change in ns, SHA-256, by path.
Known = dict[str, list]


def digest(values: Any) -> str:
    """32 hexadecimal digits of anything that JSON can say."""
    text = json.dumps(values, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def seed_from(*values: Any) -> int:
    """A seed, 0 to 2^63 - 1, that follows from the values."""
    return int(digest(values)[:16], 16) >> 1


def occurrences(texts: Iterable[str]) -> list[str]:
    """For each text a name that tells it from the same text elsewhere, whatever else there is."""
    before: Counter[str] = Counter()
    names = []
    for text in texts:
        names.append(digest([text, before[text]]))
        before[text] += 1
    return names


def file_hash(path: Path, known: Known) -> str:
    """SHA-256 of a file; one whose size and time are as before is not read again."""
    status = path.stat()
    name, seen = str(path.resolve()), [status.st_size, status.st_mtime_ns]
    if known.get(name, [])[:2] != seen:
        known[name] = [*seen, sha256(path)]
    return known[name][2]


def model_hash(folder: Path, known: Known) -> str:
    """Hash of a checkpoint folder: weights, configuration, tokenizer; not the built-in voice.

    Nor settings that change nothing of how a text is spoken: of fine-tuning, and whether texts are
    written out first, since texts have their own hashes.
    """
    files = {
        path.name: _config_hash(path) if path.name == CONFIG_NAME else file_hash(path, known)
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
    """What a piece is stored under.

    Args:
        identity: hash of everything else: model, voice, settings.
    """
    return digest([text, seed, identity])


def settings_hash(model: str, voice: str, settings: Mapping[str, Any]) -> str:
    """Hash of how pieces are said."""
    return digest({"model": model, "voice": voice, "settings": dict(settings)})
