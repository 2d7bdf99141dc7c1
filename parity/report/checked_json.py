"""The harness's own JSON files, which somebody else may have written or a full disk cut short."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlx_chatterbox.checks.json_file import read_json

from .. import COMMAND
from ..errors import ParityError
from ..precisions import PRECISIONS

Check = Callable[[Any], bool]


def read_metadata(path: Path) -> dict:
    """Read a run's metadata (`provenance.run_metadata`); {} where there is no such file.

    Raises:
        ParityError: it is damaged.
    """
    return {} if not path.exists() else _read(path, _is_metadata, "no record of a run")


def read_layers(path: Path, what: str) -> list:
    """Errors by layer (`profiles.as_plain`).

    Args:
        what: the file is not, for the error.

    Raises:
        ParityError: it is missing, or something else.
    """
    return _read(path, _list_of(_is_layers), what)


def read_report(path: Path) -> dict:
    """A report of `run --json`.

    Raises:
        ParityError: it is missing, or something else.
    """
    return _read(path, _is_report, f"no report of `{COMMAND} run --json`")


def _read(path: Path, check: Check, what: str) -> Any:
    value = read_json(path, object, ParityError)
    try:
        json.dumps(value, allow_nan=False)
        sound = check(value)
    except (ValueError, OverflowError):  # NaN, which JSON does not have
        sound = False
    if not sound:
        raise ParityError(f"{path} is {what}, or damaged.")
    return value


def _has(value: Any, needed: dict[str, Check], optional: dict[str, Check] | None = None) -> bool:
    if not isinstance(value, dict) or not needed.keys() <= value.keys():
        return False
    checks = {**needed, **(optional or {})}
    return all(check(value[name]) for name, check in checks.items() if name in value)


def _list_of(check: Check) -> Check:
    return lambda values: isinstance(values, list) and all(map(check, values))


def _or_none(check: Check) -> Check:
    return lambda value: value is None or check(value)


def _is_text(value: Any) -> bool:
    """Tell whether a value is text without surrogates, which could not be written."""
    return isinstance(value, str) and not any("\ud800" <= letter <= "\udfff" for letter in value)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(float(value)) < 1e300


def _is_whole(value: Any) -> bool:
    return type(value) is int and abs(value) < 2**63


def _is_plain(value: Any) -> bool:
    """Tell whether a value is plain JSON whose texts can all be written."""
    if isinstance(value, dict):
        return all(_is_text(key) and _is_plain(inner) for key, inner in value.items())
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool) or _is_number(value) or _is_text(value)


def _is_section(value: Any) -> bool:
    return isinstance(value, dict) and _is_plain(value)


def _is_machine(value: Any) -> bool:
    products = ("device", "float32 products") if isinstance(value, dict) and "TF32" in value else ()
    return _is_section(value) and all(map(value.__contains__, products))


def _is_metadata(value: Any) -> bool:
    return _is_section(value) and _has(value, {}, _METADATA)


_METADATA: dict[str, Check] = {
    "variant": _is_text,
    "precisions": _list_of(lambda value: value in PRECISIONS if _is_text(value) else False),
    "versions": _is_section,
    "machine": _is_machine,
    "sha256": _is_section,
}


def _is_layers(value: Any) -> bool:
    return _has(
        value,
        {"stage": _is_text, "differs_first": _or_none(_is_text), "layers": _list_of(_is_layer)},
    )


def _is_layer(value: Any) -> bool:
    return _has(value, {"name": _is_text, "call": _is_whole, "output_error": _or_none(_is_number)})


def _is_report(value: Any) -> bool:
    return _has(
        value,
        {
            "holds": lambda one: isinstance(one, bool),
            "about": lambda one: _is_metadata(one) and _has(one, {"variant": _is_text}),
            "rows": _list_of(_is_row),
        },
    )


def _is_row(value: Any) -> bool:
    texts = dict.fromkeys(("checked", "reference", "output"), _is_text)
    return _has(value, {**texts, "bound": _is_number, "error": _or_none(_is_number)})
