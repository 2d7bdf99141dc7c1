"""Plain values against the types that a dataclass gives its fields."""

from __future__ import annotations

import math
import types
import typing
from typing import Any

# Sizes of arrays are 32-bit numbers in MLX.
MAX_INTEGER = 2**31 - 1
_SHOWN = 60
_NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


class WrongType(ValueError):
    """A value has another type than its field; the message states the expected one."""


def shown(value: object) -> str:
    """Format a value for an error message: one line, shortened, control characters escaped."""
    text = repr(value) if _size(value) <= _SHOWN else f"{repr(_some(value))[:-1]}, ..."
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


def named(name: str) -> str:
    """Format a name for an error message: as it is, or like `shown` if it is odd or long."""
    return name if name.isprintable() and 0 < len(name) <= 2 * _SHOWN else shown(name)


def typed(value: Any, kind: Any, name: str) -> Any:
    """Return `value` if it is of type `kind`; an integer written as 8.0 becomes 8.

    Args:
        kind: int (from 0 to `MAX_INTEGER`), float (finite), bool, str, dict, `list[...]` of these,
            or `... | None`.
        name: of the value, for errors.

    Raises:
        WrongType: it is something else.
    """
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        inner = [one for one in typing.get_args(kind) if one is not type(None)]
        if value is None:
            return None
        return typed(value, inner[0], name)
    if origin is list:
        (inner,) = typing.get_args(kind)
        if not isinstance(value, list):
            raise WrongType(f"{name} is a list; got {shown(value)}")
        return [typed(one, inner, f"{name}[{index}]") for index, one in enumerate(value)]
    if kind is int:
        return _whole(value, name)
    if kind is float:
        if type(value) not in (int, float) or not _is_finite(value):
            raise WrongType(f"{name} is a finite number; got {shown(value)}")
        # MLX takes no whole number beyond 64 bits.
        return value if abs(value) <= MAX_INTEGER else float(value)
    if not isinstance(value, kind):
        raise WrongType(f"{name} is {_NAMES.get(kind, 'an object')}; got {shown(value)}")
    return value


def _whole(value: Any, name: str) -> int:
    if type(value) is float and _is_finite(value) and value == int(value):
        value = int(value)
    if type(value) is not int:
        raise WrongType(f"{name} is a whole number; got {shown(value)}")
    if not 0 <= value <= MAX_INTEGER:
        raise WrongType(f"{name} is from 0 to {MAX_INTEGER}; got {shown(value)}")
    return value


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond any float
        return False


def _size(value: object) -> int:
    return len(value) if isinstance(value, (str, bytes, list, tuple, dict)) else 0


def _some(value: Any) -> Any:
    """Return the beginning of a long value."""
    if isinstance(value, dict):
        return dict(list(value.items())[:_SHOWN])
    return value[:_SHOWN]
