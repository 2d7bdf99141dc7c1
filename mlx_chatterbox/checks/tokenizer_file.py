"""Checks of a `tokenizer.json` before the `tokenizers` library reads it.

That library is written in Rust, and some damaged files make it end the process.

Format: https://huggingface.co/docs/tokenizers
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from ..errors import CheckpointError
from .json_file import read_json
from .plain import MAX_INTEGER, named, shown

# No model pads its text.
MAX_PADDING = 1024
# The factor by which all replacements together may lengthen a text.
MAX_GROWTH = 64
MAX_PATTERN = 500
# A repeated group can take exponential time to fail.
_REPEATED_GROUP = re.compile(r"\)[*+{]")
# A table of another library's bytes, which is trusted there to be whole.
_UNSAFE_TYPES = ("Precompiled",)

Answer = TypeVar("Answer")


def check_tokenizer_file(path: str | Path) -> None:
    """Raise CheckpointError unless the `tokenizers` library can read a file safely."""
    values = read_json(path)
    try:
        _check(values)
    except ValueError as error:
        raise CheckpointError(f"{path} is not a tokenizer: {error}.") from None


def check_vocabulary_file(path: str | Path) -> None:
    """Raise CheckpointError unless a `vocab.json` gives each token an id."""
    for token, index in read_json(path).items():
        if type(index) is not int or not 0 <= index <= MAX_INTEGER:
            raise CheckpointError(f"{path}: the token {named(token)} has the id {shown(index)}.")


def tokenizer_call(call: Callable[[], Answer], error: Callable[[str], Exception]) -> Answer:
    """Call the `tokenizers` library, and turn its exceptions and panics into errors of ours.

    Args:
        error: makes the exception from the reason, one line.
    """
    try:
        return call()
    except Exception as problem:  # the library raises the bare class
        raise error(_line(problem)) from None
    except BaseException as problem:
        if type(problem).__name__ != "PanicException":
            raise
        raise error(_line(problem)) from None


def _line(problem: BaseException) -> str:
    return named(" ".join(str(problem).split()).rstrip(".")) or type(problem).__name__


def _check(values: dict[str, Any]) -> None:
    for one in _all_within(values):
        if type(one) is int and not 0 <= one <= MAX_INTEGER:
            raise ValueError(f"the number {shown(one)} is not an id, a size or a length")
        if isinstance(one, dict) and one.get("type") in _UNSAFE_TYPES:
            raise ValueError(f"it has a part of type {shown(one['type'])}, which is not supported")
    _check_padding(values)
    tokens = values.get("added_tokens") or []
    if not isinstance(tokens, list) or not all(map(_is_token, tokens)):
        raise ValueError("its added tokens have no content")
    growth = 1.0
    for pattern, content in _replacements(values):
        growth *= max(1.0, _growth(pattern, content))
    if growth > MAX_GROWTH:
        raise ValueError(f"its replacements make a text up to {growth:.0f} times as long")


def _check_padding(values: dict[str, Any]) -> None:
    padding, truncation = values.get("padding"), values.get("truncation")
    if isinstance(padding, dict):
        for one in _all_within({**padding, "pad_id": 0}):
            if type(one) is int and one > MAX_PADDING:
                raise ValueError(f"it pads texts to {one} tokens")
    if isinstance(truncation, dict):
        longest, stride = truncation.get("max_length"), truncation.get("stride", 0)
        if type(longest) is not int or type(stride) is not int or stride >= longest:
            raise ValueError(f"it cuts texts by {shown(truncation)}")


def _is_token(token: Any) -> bool:
    return isinstance(token, dict) and isinstance(token.get("content"), str) and token["content"]


def _replacements(values: Any) -> Iterator[tuple[dict, str]]:
    """Yield the file's patterns with their replacements, "" for those that only split a text."""
    for one in _all_within(values):
        if isinstance(one, dict) and "pattern" in one:
            pattern, content = one["pattern"], one.get("content", "")
            if isinstance(pattern, str):
                pattern = {"String": pattern}
            if not isinstance(pattern, dict) or not isinstance(content, str):
                raise ValueError(f"it has a pattern {shown(pattern)}")
            yield pattern, content


def _growth(pattern: dict, content: str) -> float:
    """Compute the largest factor by which a replacement can lengthen a text."""
    if "String" in pattern:
        text = pattern["String"]
        return len(content) / len(text) if isinstance(text, str) and text else len(content) + 1.0
    expression = pattern.get("Regex")
    if (
        not isinstance(expression, str)
        or len(expression) > MAX_PATTERN
        or _REPEATED_GROUP.search(expression)
    ):
        raise ValueError(f"its pattern {shown(expression)} could take for ever")
    return len(content) + 1.0


def _all_within(value: Any) -> Iterator[Any]:
    """Yield a plain value and all values in it."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        yield one
        if isinstance(one, dict):
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)
