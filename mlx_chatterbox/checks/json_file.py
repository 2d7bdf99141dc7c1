"""Reading of JSON that may be malicious: of bounded size and depth, or an error of ours."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

from ..errors import ChatterboxError, CheckpointError
from .git_lfs import refuse_pointer

MAX_BYTES = 16 * 2**20
# Python's own limit differs by version; what is read here is also walked through by functions that
# call themselves.
MAX_DEPTH = 64
_KINDS: dict[type, str] = {dict: "object", list: "array"}


def read_json(
    path: str | Path,
    kind: type = dict,
    error: type[ChatterboxError] = CheckpointError,
    max_bytes: int = MAX_BYTES,
) -> Any:
    """Read a JSON file.

    Args:
        kind: the type at the top; `object` for any.
        error: raised for whatever is wrong.

    Raises:
        ChatterboxError: of type `error`: missing, no regular file, too large, no JSON, nested
            deeper than `MAX_DEPTH`, another type at the top, or a Git LFS pointer.
    """
    refuse_pointer(path, error)
    try:
        return parse_json(read_small(path, max_bytes), kind)
    except OSError as problem:
        raise error(f"{path} cannot be read: {problem.strerror or problem}.") from None
    except (ValueError, RecursionError) as problem:
        raise error(f"{path} cannot be read: {_why(problem)}.") from None


def read_small(path: str | Path, max_bytes: int = MAX_BYTES) -> bytes:
    """The content of a regular file.

    Raises:
        OSError: it cannot be read. ValueError: it is no regular file, or has more bytes.
    """
    path = Path(path)
    # A pipe without a writer would never be opened.
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError("it is not a regular file")
    with path.open("rb") as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise ValueError(f"it has more than {max_bytes} bytes")
    return content


def parse_json(content: bytes | str, kind: type = dict) -> Any:
    """Parse a JSON text.

    Raises:
        ValueError, RecursionError: no JSON in UTF-8, too deep, or another type at the top.
    """
    value = json.loads(content.decode("utf-8") if isinstance(content, bytes) else content)
    if not isinstance(value, kind):
        raise ValueError(f"it is no JSON {_KINDS[kind]}")
    check_depth(value)
    return value


def check_depth(value: Any, most: int = MAX_DEPTH) -> None:
    """Raise RecursionError where plain values are nested deeper than `most`."""
    level = [value] if isinstance(value, (dict, list)) else []
    for _ in range(most):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, (dict, list))
        ]
        if not level:
            return
    raise RecursionError(most)


def _why(problem: ValueError | RecursionError) -> str:
    if isinstance(problem, RecursionError):
        return "it is nested too deeply"
    return str(problem).rstrip(".")
