"""YAML with the line of every key and value, read by type instead of by guess.

PyYAML parses only; its guesses (that `1e-4` is text, that `no` is false) are not used: the reader
of a value knows which type it should have. So a learning rate may be written `1e-4` and the
language Norwegian `no`.

A configuration may come with a downloaded model and is not trusted: the number of values that
anchors can make of a few lines is limited, and numbers are read in linear time.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ..runtime.own_files import open_input

_INT = re.compile(r"[+-]?[0-9][0-9_]*")
_FLOAT = re.compile(r"[+-]?([0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9][0-9_]*)([eE][+-]?[0-9]+)?")
_BOOLS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_NULLS = ("", "~", "null", "none")
# A file that contains itself by anchors would never end; ten lines can stand for billions.
MAX_DEPTH, MAX_NODES = 20, 20_000
MAX_BYTES = 2**20
# Digits of a number: Python's time for a whole one grows with the square of their count.
_MAX_DIGITS = 300
_MAX_MESSAGE = 400


def error_at(where: str, message: str) -> ConfigError:
    """Return the error to raise about a place; a message over 400 characters keeps both ends."""
    if len(message) > _MAX_MESSAGE:
        half = _MAX_MESSAGE // 2
        message = f"{message[:half]} ... {message[-half:]}"
    return ConfigError(f"{where}: {message}")


@dataclass
class Node:
    """A value and where it stands.

    Attributes:
        value: text of a scalar, list of `Node`, or dict of str to `Node`.
        where: "voice.yaml:12", or the option of the command line that set it.
        quoted: the scalar stands in quotes, and so is text whatever it looks like.
        keys: of a dict, where each key stands.
        written: the full key in the file, where that is another name of the key.
    """

    value: str | list[Node] | dict[str, Node]
    where: str
    quoted: bool = False
    keys: dict[str, str] = field(default_factory=dict)
    written: str = ""

    @property
    def entries(self) -> dict[str, Node]:
        """Return a section's values by key, to be changed in place; TypeError for another node."""
        if not isinstance(self.value, dict):
            raise TypeError(f"{self.where} is not a section")
        return self.value

    @property
    def text(self) -> str:
        """Return a scalar's text; "" for a list or a section."""
        return self.value if isinstance(self.value, str) else ""

    @property
    def is_null(self) -> bool:
        return isinstance(self.value, str) and not self.quoted and self.value.lower() in _NULLS

    @property
    def is_empty(self) -> bool:
        """True for null, and for a list or a section with nothing in it."""
        return self.is_null or not self.value

    def fail(self, message: str) -> ConfigError:
        """The error to raise about this value."""
        return error_at(self.where, message)

    def describe(self) -> str:
        """Describe the value in the words of an error message."""
        if isinstance(self.value, list):
            return "a list"
        if isinstance(self.value, dict):
            return "a section with keys of its own"
        if self.is_null:
            return "nothing"
        return f'"{self.value}" in quotes, which is text,' if self.quoted else self.value

    def as_bool(self) -> bool | None:
        """True or false, or None if it is neither."""
        if not isinstance(self.value, str) or self.quoted:
            return None
        return _BOOLS.get(self.value.lower())

    def as_int(self) -> int | None:
        """A whole number, or None if it is none; `1e3` is one."""
        number = self.as_float()
        if number is None:
            return None
        if _INT.fullmatch(self.text):
            return int(self.text.replace("_", ""))
        return int(number) if number == int(number) else None

    def as_float(self) -> float | None:
        """A finite number, or None if it is none."""
        if not isinstance(self.value, str) or self.quoted or len(self.value) > _MAX_DIGITS:
            return None
        if not _FLOAT.fullmatch(self.value):
            return None
        number = float(self.value.replace("_", ""))
        return number if math.isfinite(number) else None  # 1e999

    def plain(self) -> Any:
        """Convert to Python values as YAML 1.1 guesses them, but with numbers such as `1e-4`."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        if self.quoted:
            return self.value
        if self.is_null:
            return None
        if self.as_bool() is not None:
            return self.as_bool()
        if self.as_float() is not None and _INT.fullmatch(self.text):
            return self.as_int()
        return self.value if self.as_float() is None else self.as_float()


def read_yaml(path: Path) -> Node:
    """Read a file whose top is a section.

    Raises:
        ConfigError: no such file, no YAML, a key that stands twice, or PyYAML is not installed.
    """
    try:
        with open_input(path) as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise ConfigError(f"{path} has more than {MAX_BYTES} bytes: it is not a configuration.")
        text = content.decode("utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist.") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is no UTF-8 text: save it as UTF-8.") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from None
    # As text files are read: line ends of any system.
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    node = parse(text, str(path))
    if node is None or node.is_null:
        return Node({}, str(path))
    if not isinstance(node.value, dict):
        raise node.fail("a configuration has sections (model:, dataset:, training:).")
    node.where = str(path)
    return node


def parse(text: str, name: str, line_numbers: bool = True) -> Node | None:
    """Parse YAML text; None if there is nothing in it.

    Args:
        name: of the file, for messages.
        line_numbers: whether `where` names the line too.

    Raises:
        ConfigError: see `read_yaml`.
    """
    try:
        import yaml
    except ImportError:
        raise ConfigError(
            "training reads its configuration with PyYAML, which is not installed: "
            "pip install 'mlx-chatterbox[train]'"
        ) from None
    try:
        tree = _compose(text, name)
        if tree is None:
            return None
        return _NodeBuilder(name, line_numbers).node(tree, MAX_DEPTH)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}:{mark.line + 1}" if mark and line_numbers else name
        problem = " ".join(part for part in (error.context, error.problem) if part)
        raise Node("", where).fail(f"this is no YAML: {problem}.") from None
    except yaml.YAMLError as error:
        raise Node("", name).fail(f"this is no YAML: {' '.join(str(error).split())}.") from None
    except (ValueError, OverflowError) as error:  # a character or a version beyond all numbers
        raise Node("", name).fail(f"this is no YAML: {error}.") from None


def _compose(text: str, name: str):
    """Parse to PyYAML's tree, in which an alias is the node of its anchor.

    Raises:
        ConfigError: too many nodes, or nested too deeply: PyYAML itself has no bounds.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        count = depth = 0

        def compose_node(self, parent, index):
            self.count, self.depth = self.count + 1, self.depth + 1
            where = f"{name}:{self.peek_event().start_mark.line + 1}"
            if self.depth > 2 * MAX_DEPTH:  # twice: keys that are no words are reported below
                raise ConfigError(f"{where}: nested too deeply.")
            if self.count > 2 * MAX_NODES:  # keys count, too
                raise ConfigError(f"{where}: {_TOO_MANY}.")
            node = super().compose_node(parent, index)
            self.depth -= 1
            return node

    loader = Loader(text)
    try:
        return loader.get_single_node()
    finally:
        loader.dispose()


_TOO_MANY = f"more than {MAX_NODES} values: this is not a configuration"


class _NodeBuilder:
    """Converts PyYAML's nodes to ours, and counts them.

    Args:
        name: the file's name, for `Node.where`.
        lines: append the line number to it.
    """

    def __init__(self, name: str, lines: bool):
        self._name, self._lines = name, lines
        self._left = MAX_NODES

    def node(self, tree, depth: int) -> Node:
        """Convert a node and everything inside it, at most `depth` levels.

        Raises:
            ConfigError: too many, too deep, a key that is no word or stands twice.
        """
        import yaml

        where = self._place(tree)
        self._count(where)
        if depth == 0:
            raise ConfigError(f"{where}: nested too deeply.")
        if isinstance(tree, yaml.ScalarNode):
            return Node(tree.value, where, quoted=tree.style is not None)
        if isinstance(tree, yaml.SequenceNode):
            return Node([self.node(item, depth - 1) for item in tree.value], where)
        pairs = self._pairs(tree, depth)
        return Node(
            {key.value: self.node(value, depth - 1) for key, value in pairs.values()},
            where,
            keys={key.value: self._place(key) for key, _ in pairs.values()},
        )

    def _place(self, part) -> str:
        return f"{self._name}:{part.start_mark.line + 1}" if self._lines else self._name

    def _count(self, where: str) -> None:
        self._left -= 1
        if self._left < 0:
            raise ConfigError(f"{where}: {_TOO_MANY}.")

    def _pairs(self, tree, depth: int) -> dict:
        """Return (key node, value node) by key name, with those merged by `<<: *anchor` first."""
        import yaml

        if depth == 0:
            raise ConfigError(f"{self._place(tree)}: nested too deeply.")
        own: dict[str, tuple] = {}
        merged: dict[str, tuple] = {}
        seen: dict[str, str] = {}
        for key, value in tree.value:
            self._count(self._place(key))
            if not isinstance(key, yaml.ScalarNode):
                raise ConfigError(f"{self._place(key)}: a key must be a word.")
            if key.value in seen:
                raise Node("", self._place(key)).fail(
                    f"{key.value} is set twice: here and at {seen[key.value]}."
                )
            seen[key.value] = self._place(key)
            if key.tag != _MERGE:
                own[key.value] = (key, value)
                continue
            for source in self._sources(value):
                merged.update(self._pairs(source, depth - 1))
        return {**merged, **own}

    def _sources(self, value) -> Iterator:
        """Yield the sections that `<<` merges; the first one last, since it wins."""
        import yaml

        sections = value.value if isinstance(value, yaml.SequenceNode) else [value]
        for section in reversed(sections):
            if not isinstance(section, yaml.MappingNode):
                raise ConfigError(f"{self._place(section)}: << takes a section, or a list of them.")
            yield section


_MERGE = "tag:yaml.org,2002:merge"


def write_yaml(values: dict | list) -> str:
    """Plain values as YAML text that `read_yaml` reads back equal."""
    import yaml

    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, default_flow_style=None)
