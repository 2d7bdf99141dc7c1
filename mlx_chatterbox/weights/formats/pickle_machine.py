"""An interpreter of pickles that makes plain values, calls functions passed to it, nothing else.

Python's own unpickler cannot be kept from hashing any key that a file makes, from numbers of
millions of digits, or from running for hours: a kilobyte is enough for each. This one accepts only
the operations that `torch.save` needs, counts them, and checks their operands.
"""

from __future__ import annotations

import pickletools
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from mlx_chatterbox.checks.plain import named

# A tensor takes about 40, and a model has some thousands of tensors.
MAX_OPERATIONS = 1_000_000
MAX_BITS = 64


class Refused(Exception):
    """A file has content that is not accepted; the message states which."""


class Machine:
    """An interpreter for one pickle.

    Args:
        find: maps a module and a name to an object that represents it; raises Refused for unknown
            names.
        call: makes a value of such an object and arguments.
        load: maps a persistent id to a value.
    """

    def __init__(
        self,
        find: Callable[[str, str], Any],
        call: Callable[[Any, tuple], Any],
        load: Callable[[Any], Any],
    ):
        self._find, self._call, self._load = find, call, load
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def run(self, content: bytes) -> Any:
        """Run a pickle and return its value.

        Raises:
            Refused: it has an operation that is not needed, or too many of them.
            ValueError, IndexError, KeyError, TypeError, AttributeError: it is damaged.
        """
        for count, (operation, argument, _) in enumerate(pickletools.genops(content)):
            if count >= MAX_OPERATIONS:
                raise Refused(f"its pickle has more than {MAX_OPERATIONS} operations")
            name = operation.name
            if name == "STOP":
                return self._stack.pop()
            if name in _VALUES:
                self._stack.append(_checked(argument))
            elif (step := _STEPS.get(name)) is not None:
                step(self, argument)
            elif name not in ("PROTO", "FRAME"):
                raise Refused(f"its pickle has the operation {name}, which no tensor needs")
        raise Refused("its pickle has no end")

    def _since_mark(self) -> list[Any]:
        """Pop the items above the last mark."""
        mark = self._marks.pop()
        items = self._stack[mark:]
        del self._stack[mark:]
        return items

    def _tuple(self, count: int) -> None:
        if len(self._stack) < count:
            raise IndexError("its stack is empty")
        items = tuple(self._stack[len(self._stack) - count :])
        self._stack[len(self._stack) - count :] = [items]

    def _extend(self, items: list[Any]) -> None:
        if type(self._stack[-1]) is not list:
            raise Refused("its pickle adds items to what is not a list")
        self._stack[-1].extend(items)

    def _set(self, items: list[Any]) -> None:
        if type(self._stack[-1]) not in (dict, OrderedDict):
            raise Refused("its pickle sets keys of what is not a dict")
        set_items(self._stack[-1], zip(items[::2], items[1::2], strict=True))

    def _name(self, _) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        self._stack.append(self._find(module, name))

    def _reduce(self, _) -> None:
        arguments = self._stack.pop()
        if type(arguments) is not tuple:
            raise Refused("its pickle calls something without arguments")
        function = self._stack.pop()
        if function is OrderedDict:
            made: OrderedDict = OrderedDict()
            set_items(made, *arguments)
            self._stack.append(made)
        else:
            self._stack.append(self._call(function, arguments))

    def _build(self, _) -> None:
        """Ignore the attributes of a state dict: PyTorch's `_metadata`."""
        self._stack.pop()
        if type(self._stack[-1]) is not OrderedDict:
            raise Refused("its pickle changes a tensor after it was made")


def set_items(into: dict, pairs=()) -> None:
    """Put pairs into a dict, whose keys are texts.

    Raises:
        Refused: a key is not a text: numbers can be chosen so that a dict takes time quadratic in
            their count, and hashing nested tuples can take for ever.
    """
    for key, value in pairs:
        if type(key) is not str:
            raise Refused("its pickle has a dict with keys that are not text")
        into[key] = value


def _checked(value: Any) -> Any:
    if type(value) is int and value.bit_length() > MAX_BITS:
        raise Refused(f"its pickle has a whole number of more than {MAX_BITS} bits")
    return value


def _global(machine: Machine, argument: str) -> None:
    module, _, name = argument.partition(" ")
    machine._stack.append(machine._find(module, name))


def _put(machine: Machine, index: int | None) -> None:
    machine._memo[len(machine._memo) if index is None else index] = machine._stack[-1]


def _list(machine: Machine) -> list[Any]:
    return machine._since_mark()


def _dict(machine: Machine) -> dict[str, Any]:
    items = machine._since_mark()
    made: dict[str, Any] = {}
    set_items(made, zip(items[::2], items[1::2], strict=True))
    return made


_VALUES = frozenset(
    (
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE"),
        *("BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
    )
)
_STEPS: dict[str, Callable[[Machine, Any], object]] = {
    "NONE": lambda machine, _: machine._stack.append(None),
    "NEWTRUE": lambda machine, _: machine._stack.append(True),
    "NEWFALSE": lambda machine, _: machine._stack.append(False),
    "MARK": lambda machine, _: machine._marks.append(len(machine._stack)),
    "POP": lambda machine, _: machine._stack.pop(),
    "POP_MARK": lambda machine, _: machine._since_mark(),
    "EMPTY_TUPLE": lambda machine, _: machine._stack.append(()),
    "TUPLE1": lambda machine, _: machine._tuple(1),
    "TUPLE2": lambda machine, _: machine._tuple(2),
    "TUPLE3": lambda machine, _: machine._tuple(3),
    "TUPLE": lambda machine, _: machine._stack.append(tuple(machine._since_mark())),
    "EMPTY_LIST": lambda machine, _: machine._stack.append([]),
    "LIST": lambda machine, _: machine._stack.append(_list(machine)),
    "APPEND": lambda machine, _: machine._extend([machine._stack.pop()]),
    "APPENDS": lambda machine, _: machine._extend(machine._since_mark()),
    "EMPTY_DICT": lambda machine, _: machine._stack.append({}),
    "DICT": lambda machine, _: machine._stack.append(_dict(machine)),
    "SETITEM": lambda machine, _: machine._set([machine._stack.pop(), machine._stack.pop()][::-1]),
    "SETITEMS": lambda machine, _: machine._set(machine._since_mark()),
    "GLOBAL": _global,
    "STACK_GLOBAL": Machine._name,
    "REDUCE": Machine._reduce,
    "BUILD": Machine._build,
    "BINPERSID": lambda machine, _: machine._stack.append(machine._load(machine._stack.pop())),
    "PUT": _put,
    "BINPUT": _put,
    "LONG_BINPUT": _put,
    "MEMOIZE": _put,
    "GET": lambda machine, index: machine._stack.append(machine._memo[index]),
    "BINGET": lambda machine, index: machine._stack.append(machine._memo[index]),
    "LONG_BINGET": lambda machine, index: machine._stack.append(machine._memo[index]),
}


def unknown_name(module: Any, name: Any) -> Refused:
    """Make the error for an unknown name."""
    asked = ".".join(named(str(part)[:200]) for part in (module, name))
    return Refused(
        f"its pickle asks for {asked}, which is not part of a tensor; nothing of it was run"
    )
