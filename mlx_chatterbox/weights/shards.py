"""Weights that are split into shards.

A large `NAME.safetensors` may be split into `NAME-00001-of-00003.safetensors` and so on, with
`NAME.safetensors.index.json` beside them, which maps every tensor to its file
(https://huggingface.co/docs/safetensors, "sharded").
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from ..checks.json_file import read_json
from ..checks.plain import named as shown_name
from ..errors import CheckpointError

_INDEX = ".index.json"
_ENDING = ".safetensors"


def index_of(path: Path) -> Path:
    """Return the path of the index of a file that may be split."""
    return path.with_name(path.name + _INDEX)


def is_there(path: Path) -> bool:
    """Tell whether there are weights of this name, whole or split; shards may be missing."""
    return path.is_file() or (
        path.suffix == _ENDING and (index_of(path).is_file() or bool(_numbered(path)))
    )


def split_names(folder: Path) -> list[str]:
    """List the names of a folder's files that exist only as shards."""
    names = {path.name.removesuffix(_INDEX) for path in folder.glob(f"*{_ENDING}{_INDEX}")}
    return sorted(name for name in names if not (folder / name).is_file())


def files_of(path: Path) -> list[Path]:
    """List the files with the tensors of `path`: its shards, or `path` itself if it has none.

    Raises:
        CheckpointError: the index cannot be read or names a file outside its folder, or a shard
            is missing.
    """
    if path.is_file() or path.suffix != _ENDING:
        return [path]
    if index_of(path).is_file():
        names = sorted(set(weight_map(path).values()))
        origin = f"{index_of(path).name} names"
    elif shards := _numbered(path):
        count = max(int(match[2]) for match in shards)
        width = len(shards[0][2])
        names = [f"{path.stem}-{i + 1:0{width}}-of-{count:0{width}}{_ENDING}" for i in range(count)]
        origin = "the names of the others count"
    else:
        return [path]
    missing = [name for name in names if not (path.parent / name).is_file()]
    if missing:
        which = ", ".join(map(shown_name, missing[:4])) + (", ..." if len(missing) > 4 else "")
        raise CheckpointError(
            f"{path.parent} lacks {len(missing)} of the {len(names)} files that {origin}: {which}. "
            "Download them; `hf download OWNER/NAME --local-dir FOLDER` resumes where it stopped."
        )
    return [path.parent / name for name in names]


def weight_map(path: Path) -> dict[str, str]:
    """Read the index of a split file: the name of the shard of every tensor.

    Raises:
        CheckpointError: see `files_of`.
    """
    index = index_of(path)
    try:
        named = read_json(index)["weight_map"]
        if not named or not all(isinstance(name, str) for name in named.values()):
            raise ValueError("it names no files")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        why = "no weight_map" if isinstance(error, (KeyError, TypeError)) else str(error)
        raise CheckpointError(f"{index} is not an index of shards: {why}.") from None
    for name in sorted(set(named.values())):
        parts = PurePosixPath(name).parts
        if PurePosixPath(name).is_absolute() or ".." in parts or "\\" in name or ":" in name:
            raise CheckpointError(
                f"{index} names a file outside its folder, {shown_name(name)}: not read."
            )
        if not name.endswith(_ENDING):
            raise CheckpointError(f"{index} names {shown_name(name)}, which is no {_ENDING} file.")
    return named


def check_shards(path: Path, keys: Mapping[str, list[str]]) -> None:
    """Compare the tensors of shards with their index, and with one another.

    Args:
        path: that is split.
        keys: of each shard, by its name.

    Raises:
        CheckpointError: a tensor is not in the shard that the index names, or is in two shards.
    """
    where: dict[str, str] = {}
    for name, contents in keys.items():
        for key in contents:
            if key in where:
                both = " and ".join(map(shown_name, (where[key], name)))
                raise CheckpointError(
                    f"{shown_name(key)} is in two files of {path.parent}, {both}."
                )
            where[key] = name
    if not index_of(path).is_file():
        return
    wrong = sorted(dict(weight_map(path).items() ^ where.items()))
    if wrong:
        some = ", ".join(map(shown_name, wrong[:3])) + (", ..." if len(wrong) > 3 else "")
        raise CheckpointError(
            f"{index_of(path)} does not match the files beside it: {len(wrong)} tensors are not in "
            f"the file that it names ({some})."
        )


def _numbered(path: Path) -> list[re.Match]:
    """Find the shards of a file by their names alone."""
    pattern = re.compile(re.escape(path.stem) + r"-(\d{3,})-of-(\d{3,})" + re.escape(_ENDING))
    if not path.parent.is_dir():
        return []
    names = sorted(other.name for other in path.parent.iterdir())
    return [match for name in names if (match := pattern.fullmatch(name))]
