"""Checks of the values read from a job's files.

Everything in a job's folder may have been edited; once a value has passed these checks it is used
without another.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

Check = Callable[[Any], bool]


def is_number(value: Any) -> bool:
    """Tell whether a value is a finite number."""
    return isinstance(value, (int, float)) and not _is_bool(value) and math.isfinite(float(value))


def is_whole(value: Any, least: int = 0, most: int = (1 << 64) - 1) -> bool:
    """Tell whether a value is an integer within bounds."""
    return isinstance(value, int) and not _is_bool(value) and least <= value <= most


def is_text(value: Any) -> bool:
    """Tell whether a value is text without surrogates, which could not be written again."""
    return isinstance(value, str) and not any("\ud800" <= letter <= "\udfff" for letter in value)


def is_sound(record: Any) -> bool:
    """Tell whether a value is the record of a piece (`speaking.SpokenPiece.record`, and a hash)."""
    return _has(record, _RECORD, _MORE_OF_RECORD)


def is_state(state: Any) -> bool:
    """Tell whether a value is the content of `job.json`; older programs leave some of it out."""
    return _has(state, {}, _STATE)


def is_output_state(state: Any) -> bool:
    """Tell whether a value is the state of a batch's finished output."""
    return _has(state, _OUTPUT, _MORE_OF_OUTPUT)


def _has(values: Any, needed: dict[str, Check], optional: dict[str, Check]) -> bool:
    """Tell whether a value is an object with these members; further ones are ignored."""
    if not isinstance(values, dict) or not needed.keys() <= values.keys():
        return False
    checks = {**needed, **optional}
    try:
        return all(check(values[name]) for name, check in checks.items() if name in values)
    except OverflowError:  # an integer that no float holds
        return False


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


def _list_of(check: Check) -> Check:
    return lambda values: isinstance(values, list) and all(map(check, values))


def _object_of(check: Check) -> Check:
    return lambda values: isinstance(values, dict) and all(map(check, values.values()))


def _or_none(check: Check) -> Check:
    return lambda value: value is None or check(value)


def _is_known_file(value: Any) -> bool:
    """Tell whether a value is a file's size, modification time in ns, and hash."""
    return (
        isinstance(value, list)
        and len(value) == 3
        and is_whole(value[0])
        and is_whole(value[1], least=-(1 << 63))
        and is_text(value[2])
    )


def _is_token(value: Any) -> bool:
    return is_whole(value, most=(1 << 31) - 1)


def _is_seed(value: Any) -> bool:
    return is_whole(value, least=-(1 << 64))


_RECORD: dict[str, Check] = {
    "seed": _is_seed,
    "tries": lambda value: is_whole(value, least=1),
    "outcome": is_text,
    "samples": is_whole,
    "loudness": _or_none(is_number),
    "tokens": _list_of(_is_token),
    "sha256": is_text,
}
_MORE_OF_RECORD: dict[str, Check] = {
    "text": is_text,
    "unread": _list_of(is_text),
    "stopped": _is_bool,
    "worker": is_text,
    "alone": _is_bool,  # of older programs, not used
}
_STATE: dict[str, Check] = {
    "seed": _or_none(_is_seed),
    "normalize": _or_none(_is_bool),
    "takes": _object_of(is_whole),
    "again": _list_of(is_text),
    "files": _object_of(_is_known_file),
    "chapters": _list_of(lambda value: is_whole(value, least=1)),
    "plan": is_text,  # this and "units" of older programs, not used
    "units": _list_of(_list_of(is_text)),
}
_OUTPUT: dict[str, Check] = {"fingerprint": is_text, "sha256": is_text, "seconds": is_number}
_MORE_OF_OUTPUT: dict[str, Check] = {"message": is_text, "heard": is_text}
