"""Options as dataclass fields with their documentation, and a reader of such dataclasses from YAML.

The same texts serve the code, the error messages and the table in the documentation.
"""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

from ..errors import ConfigError
from .yaml_lines import Node

# The largest whole number: sizes of arrays are 32-bit numbers in MLX. The largest real one: no
# setting is larger, and powers of it must be float32.
MAX_WHOLE, MAX_REAL = 2**31 - 1, 1e9


def option(
    default: Any = dataclasses.MISSING,
    doc: str = "",
    unit: str = "",
    *,
    factory=None,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    share_of: str = "",
) -> Any:
    """Make a dataclass field that can be set in YAML.

    Args:
        doc: its effect, one line.
        unit: unit of the number.
        low, high: the smallest and the largest number allowed; None: up to `MAX_WHOLE` or
            `MAX_REAL`.
        above: the number must be larger than this.
        share_of: the number is a whole one, or a share of this, between 0 and 1.
    """
    metadata = {"doc": doc, "unit": unit, "low": low, "high": high, "above": above}
    metadata["share_of"] = share_of
    if factory is not None:
        return dataclasses.field(default_factory=factory, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def nearest(word: str, known: Iterable[str], others: Iterable[str] = ()) -> str:
    """Return a hint for a misspelt word: 'did you mean ...?', or the list of known words.

    Args:
        others: words that are suggested, but not listed.
    """
    known = list(known)
    close = difflib.get_close_matches(word.lower(), [*known, *others], n=1, cutoff=0.6)
    return f"did you mean {close[0]}?" if close else f"known are {', '.join(sorted(known))}."


@dataclasses.dataclass(frozen=True)
class Refusal:
    """A key of a feature that does not exist here.

    Attributes:
        why: why not, and what to do instead.
        nothing: values that switch the feature off, besides false, 0, null and empty ones.
    """

    why: str
    nothing: tuple[str, ...] = ()

    def asks(self, node: Node) -> bool:
        """True unless the value switches the feature off."""
        value = node.value
        if isinstance(value, dict) and "enabled" in value:
            return value["enabled"].as_bool() is not False
        if not isinstance(value, str):
            return any(map(self.asks, value.values() if isinstance(value, dict) else value))
        off = node.is_null or node.as_bool() is False or node.as_float() == 0 or not value
        return not off and value.lower() not in self.nothing


class ConfigReader:
    """Builds dataclasses from nodes.

    Args:
        ignored: full key to the reason why it has no effect here; such keys are dropped.
        refused: full key to the error if its value asks for anything.
        hints: an unknown key to what to write instead.
        others: further full keys to suggest for a misspelt one.

    Attributes:
        notes: a line for each ignored key that was read.
        places: file and line of each key that was read, by its full name.
    """

    def __init__(
        self,
        ignored: Mapping[str, str] | None = None,
        refused: Mapping[str, Refusal] | None = None,
        hints: Mapping[str, str] | None = None,
        others: Iterable[str] = (),
    ):
        self._ignored = ignored or {}
        self._refused = refused or {}
        self._hints = hints or {}
        self._known = [*self._ignored, *self._refused, *others]
        self.notes: list[str] = []
        self.places: dict[str, str] = {}

    def dataclass(self, cls: type, node: Node, path: str = ""):
        """Build an instance of `cls`; keys that are left out keep their defaults.

        Raises:
            ConfigError: an unknown key, a wrong type, a number out of its range.
        """
        return cls(**self.values(cls, node, path))

    def values(self, cls: type, node: Node, path: str = "") -> dict[str, Any]:
        """Read the keys of a section and check them; returns keyword arguments for `cls`."""
        if node.is_null:
            return {}
        if not isinstance(node.value, dict):
            raise node.fail(f"{path or 'the top'} must be a section with keys of its own.")
        hints = typing.get_type_hints(cls)
        fields = {f.name: f for f in dataclasses.fields(cls) if f.init}
        built = {}
        for key, value in node.value.items():
            full = f"{path}.{key}" if path else key
            where = node.keys.get(key, value.where)
            self.places[full] = where
            if full in self._ignored:
                if not value.is_empty:
                    self.notes.append(f"{where}: {full} has no effect: {self._ignored[full]}")
            elif full in self._refused:
                if self._refused[full].asks(value):
                    raise ConfigError(f"{where}: {full}: {self._refused[full].why}")
            elif key not in fields:
                raise self._unknown(key, where, path, fields)
            else:
                built[key] = self._checked(hints[key], value, full, fields[key].metadata)
        return built

    def _unknown(self, key: str, where: str, path: str, fields: Iterable[str]) -> ConfigError:
        here = f"in {path}" if path else "at the top"
        hint = self._hints.get(key.lower())
        if hint is None:
            parts = [name.rpartition(".") for name in self._known]
            hint = nearest(key, fields, [last for section, _, last in parts if section == path])
        return ConfigError(f"{where}: unknown key {key} {here}; {hint}")

    def _checked(self, kind, node: Node, path: str, metadata: Mapping[str, Any]):
        """Read the value of a field and check its range."""
        # Errors name the key as it stands in the file.
        path = node.written or path
        value = self._value(kind, node, path, metadata.get("share_of", ""))
        _check_range(value, metadata, node, path)
        return value

    def _value(self, kind, node: Node, path: str, share_of: str = ""):
        kinds = _alternatives(kind)
        if types.NoneType in kinds:
            if node.is_null:
                return None
            kinds = [k for k in kinds if k is not types.NoneType]
        for one in kinds:
            fits, value = self._try(one, node, path)
            if fits:
                return value
        wanted = _kinds(kinds, share_of)
        hint = ""
        if node.quoted and any(one in (int, float, bool) for one in kinds):
            hint = " Leave the quotes out."
        raise node.fail(f"{path} must be {wanted}, not {node.describe().rstrip(',')}.{hint}")

    def _try(self, kind, node: Node, path: str) -> tuple[bool, Any]:
        """Read a node as a kind of value; returns (is of this kind, value)."""
        origin, arguments = typing.get_origin(kind), typing.get_args(kind)
        if origin is Literal:
            return self._choice(arguments, node, path)
        if origin is list:
            # One word where a list is wanted is a list of one.
            scalar = isinstance(node.value, str)
            items = ([] if node.is_null else [node]) if scalar else node.value
            if not isinstance(items, list):
                return False, None
            return True, [
                self._value(arguments[0], item, f"{path}[{i}]") for i, item in enumerate(items)
            ]
        if origin is dict or kind is dict:
            if node.is_null:
                return True, {}
            if not isinstance(node.value, dict):
                return False, None
            if not arguments or arguments[1] is Any:
                return True, node.plain()
            return True, {
                key: self._value(arguments[1], value, f"{path}.{key}")
                for key, value in node.value.items()
            }
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            if not isinstance(node.value, dict) and not node.is_null:
                return False, None
            return True, self.dataclass(kind, node, path)
        return _scalar(kind, node)

    @staticmethod
    def _choice(choices, node: Node, path: str) -> tuple[bool, Any]:
        if not isinstance(node.value, str):
            return False, None
        by_word = {str(choice).lower(): choice for choice in choices}
        # `eval_strategy: no` is the word, not YAML 1.1's false.
        word = node.value.lower()
        if word not in by_word:
            raise node.fail(f"{path}: {node.value!r} is not known; {nearest(word, by_word)}")
        return True, by_word[word]


def _scalar(kind, node: Node) -> tuple[bool, Any]:
    if not isinstance(node.value, str) or (node.is_null and kind is not str):
        return False, None
    value: bool | float | str | None
    if kind is bool:
        value = node.as_bool()
    elif kind is int:
        value = node.as_int()
    elif kind is float:
        value = node.as_float()
    elif kind is str:
        value = None if node.is_null else node.value
    else:
        raise TypeError(f"no reader for {kind}")
    return value is not None, value


def _alternatives(kind) -> list:
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return list(typing.get_args(kind))
    return [kind]


_WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    dict: "a section",
}


def _kinds(kinds: list, share_of: str = "") -> str:
    if share_of:
        return f"a share of {share_of} (0.1) or a whole number"
    return " or ".join(kind_name(one) for one in kinds)


def kind_name(kind) -> str:
    """Name a kind of value for messages: "a whole number", "a list of words"."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return " or ".join(str(choice) for choice in arguments)
    if origin is list:
        inner = kind_name(arguments[0])
        return "a list of " + (
            "words" if inner == "text" else f"({inner})" if " " in inner else inner
        )
    if origin is dict:
        return "a section"
    return _WORDS.get(kind, "a section")


def _check_range(value, metadata, node: Node, path: str) -> None:
    numbers = value if isinstance(value, list) else [value]
    if isinstance(value, dict):
        numbers = list(value.values())
    low, high, above = (metadata.get(name) for name in ("low", "high", "above"))
    for number in numbers:
        if not isinstance(number, int | float) or isinstance(number, bool):
            continue
        if metadata.get("share_of") and isinstance(number, float):
            if not 0 < number < 1:
                wanted = _kinds([], metadata["share_of"])
                raise node.fail(f"{path} must be {wanted}, not {number:g}.")
            continue
        if low is not None and number < low:
            raise node.fail(f"{path} must be at least {low:g}, not {number:g}.")
        if above is not None and number <= above:
            raise node.fail(f"{path} must be more than {above:g}, not {number:g}.")
        most = high if high is not None else MAX_WHOLE if isinstance(number, int) else MAX_REAL
        if number > most or (low is None and above is None and number < -most):
            end, sign = ("at least", "-") if number < 0 else ("at most", "")
            raise node.fail(f"{path} must be {end} {sign}{most:g}, not {number:g}.")


def rows(cls: type, path: str = "") -> Iterator[tuple[str, str, str, str]]:
    """Yield every option below `cls`: full key, kind, default (with unit), what it does."""
    hints = typing.get_type_hints(cls)
    for item in dataclasses.fields(cls):
        if not item.init or "doc" not in item.metadata:
            continue
        full = f"{path}.{item.name}" if path else item.name
        kinds = [k for k in _alternatives(hints[item.name]) if k is not types.NoneType]
        nested = [k for k in kinds if isinstance(k, type) and dataclasses.is_dataclass(k)]
        if nested:
            if item.metadata["doc"]:
                yield full, "a section", _default(item), item.metadata["doc"]
            yield from rows(nested[0], full)
        else:
            kind = _kinds(kinds, item.metadata["share_of"])
            yield full, kind, _default(item), item.metadata["doc"]


def _default(item: dataclasses.Field) -> str:
    if item.default_factory is not dataclasses.MISSING:
        value = item.default_factory()
        value = value if isinstance(value, list | dict) else None
    else:
        value = item.default
    if value is None or value == [] or value == {}:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        text = f"{value:g}"
    elif isinstance(value, list):
        text = ", ".join(map(str, value))
    elif isinstance(value, dict):
        text = ", ".join(f"{key} {number:g}" for key, number in value.items())
    else:
        text = str(value)
    unit = item.metadata["unit"]
    return f"{text} {unit}" if unit else text
