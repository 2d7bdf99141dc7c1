"""Definition of a fault: code that is put in another's place, or a weight that is changed.

`Fault.layer` is where `bisect` should point to: the layer or function whose own code or weight the
fault is in.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from ..taps.replacing import replaced


class Patches:
    """Replacements of code that last until the fault is removed."""

    def __init__(self, stack: ExitStack):
        self._stack = stack

    def set(self, owner: object, name: str, value: object) -> None:
        """Let `owner.name` be `value`."""
        self._stack.enter_context(replaced(owner, name, value))

    def at_the_end(self, function: Callable) -> None:
        """Call `function` when the fault is removed."""
        self._stack.callback(function)


@dataclass(frozen=True)
class Fault:
    """A porting fault, and where it should be found.

    Attributes:
        name: for the command line.
        what: in a few words.
        stages: parity stages to compute; it shows in one of them at least.
        layer: the tap that it is in.
        code: plants it by replacing code.
        weights: plants it by changing the networks' weights; they are not put back.
        variant: the model that has the part it is in.
    """

    name: str
    what: str
    stages: tuple[str, ...]
    layer: str
    code: Callable[[Patches], None] | None = None
    weights: Callable[[object], None] | None = None
    variant: str = "english"
