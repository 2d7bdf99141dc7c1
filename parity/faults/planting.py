"""Realistic porting faults, to be planted in our networks one at a time: is each caught and named?

A fault is code that is put in another's place, or a weight that is changed as a wrong conversion
would change it. `layer` is where `bisect` should point to: the layer or function whose own code or
weight the fault is in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from ..errors import ParityError
from ..mlx.taps import layer_by_layer, replaced


class Patches:
    """Puts code in another's place until the fault is taken out again."""

    def __init__(self, stack: ExitStack):
        self._stack = stack

    def set(self, owner: object, name: str, value: object) -> None:
        """`owner.name` is `value`."""
        self._stack.enter_context(replaced(owner, name, value))

    def at_the_end(self, function: Callable) -> None:
        """Call `function` when the fault is taken out."""
        self._stack.callback(function)


@dataclass(frozen=True)
class Fault:
    """A fault.

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


def faults() -> dict[str, Fault]:
    """All of them, by name."""
    from .networks import FAULTS as in_networks
    from .signal import FAULTS as in_signal
    from .weights import FAULTS as in_weights

    return {fault.name: fault for fault in (*in_signal, *in_weights, *in_networks)}


@contextmanager
def planted(name: str, networks: object | None) -> Iterator[None]:
    """The fault of this name, or none if the name is empty, until the block ends.

    Args:
        networks: whose weights are changed, for good; None leaves weights alone.

    Raises:
        ParityError: there is no such fault.
    """
    if not name:
        yield
        return
    known = faults()
    if name not in known:
        raise ParityError(f"{name!r} is no fault; there are {', '.join(known)}.")
    fault = known[name]
    with ExitStack() as stack:
        # A layer with a fault is to be asked.
        stack.enter_context(layer_by_layer())
        if fault.code is not None:
            fault.code(Patches(stack))
        if fault.weights is not None and networks is not None:
            fault.weights(networks)
        yield
