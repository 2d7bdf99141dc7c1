"""YAML with the line of every key and value, read by type instead of by guess.

PyYAML parses; what it would guess (that `1e-4` is text, that `no` is false) is left to whoever
knows the type that is wanted. So a learning rate may be written `1e-4` and the language Norwegian
`no`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import ConfigError
from ..own_files import open_input

_INT = re.compile(r"[+-]?[0-9][0-9_]*")
_FLOAT = re.compile(r"[+-]?([0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)([eE][+-]?[0-9]+)?")
_BOOLS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_NULLS = ("", "~", "null", "none")
_DEEPEST = 20  # a file that contains itself by anchors would never end


@dataclass
class Node:
    """A value and where it stands.

    Attributes:
        value: text of a scalar, list of `Node`, or dict of str to `Node`.
        where: "voice.yaml:12", or the option of the command line that set it.
        quoted: the scalar stands in quotes, and so is text whatever it looks like.
        keys: of a dict, where each key stands.
        written: the full key that it was given under, if that is another name of its key.
    """

    value: str | list | dict
    where: str
    quoted: bool = False
    keys: dict[str, str] = field(default_factory=dict)
    written: str = ""

    @property
    def is_null(self) -> bool:
        return isinstance(self.value, str) and not self.quoted and self.value.lower() in _NULLS

    @property
    def is_empty(self) -> bool:
        """Whether nothing is said: null, or a list or a section with nothing in it."""
        return self.is_null or not self.value

    def fail(self, message: str) -> ConfigError:
        """The error to raise about this value."""
        return ConfigError(f"{self.where}: {message}")

    def describe(self) -> str:
        """What stands there, for messages."""
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
        if number is None or number != number or number in (float("inf"), float("-inf")):
            return None
        if _INT.fullmatch(self.value):
            return int(self.value.replace("_", ""))
        return int(number) if number == int(number) else None

    def as_float(self) -> float | None:
        """A number, or None if it is none."""
        if not isinstance(self.value, str) or self.quoted or not _FLOAT.fullmatch(self.value):
            return None
        return float(self.value.replace("_", ""))

    def plain(self):
        """Python values, by YAML's own guesses mended for numbers such as `1e-4`."""
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
        if _INT.fullmatch(self.value):
            return self.as_int()
        return self.value if self.as_float() is None else self.as_float()


def read_yaml(path: Path) -> Node:
    """Read a file whose top is a section.

    Raises:
        ConfigError: no such file, no YAML, a key that stands twice, or PyYAML is not installed.
    """
    try:
        with open_input(path) as file:
            text = file.read().decode("utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist.") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is no UTF-8 text: save it as UTF-8.") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from None
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
    loader = yaml.SafeLoader(text)
    try:
        tree = loader.get_single_node()
        if tree is None:
            return None
        return _convert(loader, tree, name, line_numbers, _DEEPEST)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}:{mark.line + 1}" if mark and line_numbers else name
        problem = " ".join(part for part in (error.context, error.problem) if part)
        raise ConfigError(f"{where}: this is no YAML: {problem}.") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{name}: this is no YAML: {' '.join(str(error).split())}.") from None
    finally:
        loader.dispose()


def _convert(loader, tree, name: str, lines: bool, depth: int) -> Node:
    import yaml

    def place(part) -> str:
        return f"{name}:{part.start_mark.line + 1}" if lines else name

    where = place(tree)
    if depth == 0:
        raise ConfigError(f"{where}: nested too deeply.")
    if isinstance(tree, yaml.ScalarNode):
        return Node(tree.value, where, quoted=tree.style is not None)
    if isinstance(tree, yaml.SequenceNode):
        return Node([_convert(loader, item, name, lines, depth - 1) for item in tree.value], where)
    seen: dict[str, str] = {}
    for key, _ in tree.value:
        if not isinstance(key, yaml.ScalarNode):
            raise ConfigError(f"{place(key)}: a key must be a word.")
        if key.value in seen:
            raise ConfigError(
                f"{place(key)}: {key.value} stands here again; first at {seen[key.value]}."
            )
        seen[key.value] = place(key)
    loader.flatten_mapping(tree)  # `<<: *anchor`; later pairs win
    return Node(
        {key.value: _convert(loader, value, name, lines, depth - 1) for key, value in tree.value},
        where,
        keys={key.value: place(key) for key, _ in tree.value},
    )


def write_yaml(values: dict) -> str:
    """Plain values as YAML text that `read_yaml` reads back equal."""
    import yaml

    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, default_flow_style=None)
