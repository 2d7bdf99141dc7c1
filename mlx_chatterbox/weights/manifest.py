"""`manifest.json`: sizes and hashes of a checkpoint's files, by which damage is found.

It lists every file with its size, its SHA-256 and, for weights, the number of tensors. Loading
compares them only on demand (`--check`), so that a tensor edited on purpose still loads.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path

from ..checks.json_file import read_json
from ..checks.safetensors_header import read_header
from ..errors import CheckpointError
from ..runtime.own_files import open_regular, write_whole

MANIFEST_NAME = "manifest.json"
VERSION = 1
CHUNK_BYTES = 4 * 2**20

Progress = Callable[[int, int], None]


def write_checkpoint_manifest(folder: Path, known: Mapping[str, str] | None = None) -> Path:
    """Write the manifest of the files that are in `folder` now, except hidden files and cards.

    Args:
        known: SHA-256 of files that need not be read again, by name.
    """
    known = known or {}
    files = {}
    for path in sorted(folder.iterdir()):
        unlisted = path.name == MANIFEST_NAME or path.suffix in (".md", ".tmp")
        if not path.is_file() or unlisted or path.name.startswith("."):
            continue
        entry: dict = {"bytes": path.stat().st_size}
        if path.suffix == ".safetensors":
            entry["tensors"] = count_tensors(path)
        entry["sha256"] = known.get(path.name) or sha256(path)
        files[path.name] = entry
    content = json.dumps({"version": VERSION, "files": files}, indent=2) + "\n"
    write_whole(folder / MANIFEST_NAME, content, clean=True)
    return folder / MANIFEST_NAME


def update_manifest(folder: Path) -> Path:
    """Write the manifest again after files were added; the weights in it are not read again."""
    weights = {
        name: entry["sha256"]
        for name, entry in _read(folder).items()
        if name.endswith(".safetensors")
    }
    return write_checkpoint_manifest(folder, weights)


def check_manifest(folder: Path, progress: Progress | None = None) -> int:
    """Compare every file with the manifest; returns how many there are.

    Args:
        progress: callback(done, total), in bytes.

    Raises:
        CheckpointError: no manifest, or a file that is missing, cut short, changed or not listed.
    """
    files = _read(folder)
    for name, entry in files.items():
        path = folder / name
        if not path.is_file():
            raise CheckpointError(f"{path} is missing, though {MANIFEST_NAME} lists it.")
        size, expected = path.stat().st_size, entry["bytes"]
        if size != expected:
            what = "cut short" if size < expected else "too long"
            raise CheckpointError(
                f"{path} is {what}: it has {size} bytes, not {expected}. Fetch or convert it again."
            )
    unlisted = sorted(p.name for p in folder.glob("*.safetensors") if p.name not in files)
    if unlisted:
        raise CheckpointError(f"{folder / unlisted[0]} is not listed in {MANIFEST_NAME}.")
    total, done = sum(entry["bytes"] for entry in files.values()), 0

    def report(count: int) -> None:
        nonlocal done
        done += count
        if progress is not None:
            progress(done, total)

    for name, entry in files.items():
        path = folder / name
        changed = sha256(path, report) != entry["sha256"]
        if changed or ("tensors" in entry and count_tensors(path) != entry["tensors"]):
            raise CheckpointError(
                f"{path} has been changed or damaged: it is not the file that {MANIFEST_NAME} "
                "lists. Fetch or convert it again."
            )
    return len(files)


def _read(folder: Path) -> dict[str, dict]:
    path = folder / MANIFEST_NAME
    if not path.exists():
        raise CheckpointError(
            f"{folder} has no {MANIFEST_NAME} to compare with; converting the folder again with "
            "`mlx-chatterbox-convert` writes one."
        )
    try:
        files = read_json(path).get("files")
    except CheckpointError:
        files = None
    if not isinstance(files, dict) or not all(map(_is_sound, files.keys(), files.values())):
        raise CheckpointError(f"{path} is damaged: fetch or convert the folder again.")
    return files


def _is_sound(name: str, entry: object) -> bool:
    """Tell whether an entry names a file directly in the folder, with a size and a hash."""
    if not isinstance(entry, dict) or Path(name).name != name or not name.isprintable():
        return False
    size = entry.get("bytes")
    return type(size) is int and size >= 0 and isinstance(entry.get("sha256"), str)


def count_tensors(path: Path) -> int:
    """Count the tensors in a safetensors file by its header; -1 if it cannot be read."""
    try:
        return len(read_header(path))
    except CheckpointError:
        return -1


def sha256(path: Path, report: Callable[[int], None] | None = None) -> str:
    """Hash a regular file; `report` is called with the number of bytes after each read."""
    digest = hashlib.sha256()
    with open_regular(path) as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            if report is not None:
                report(len(chunk))
    return digest.hexdigest()
