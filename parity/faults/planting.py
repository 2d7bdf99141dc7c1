"""Realistic porting faults, planted in our networks one at a time to see whether each is found.

A fault is code that is put in another's place, or a weight that is changed as a wrong conversion
would change it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from ..errors import ParityError
from ..mlx.taps import layer_by_layer
from ..tables.stage import FLASH
from .chattts import FAULTS as IN_CHATTTS
from .fault import Fault, Patches
from .flash import FAULTS as IN_FLASH
from .flash import in_shared_parts
from .networks import FAULTS as IN_NETWORKS
from .signal import FAULTS as IN_SIGNALS
from .weights import FAULTS as IN_WEIGHTS


def faults() -> dict[str, Fault]:
    """All faults by name."""
    every = (*IN_SIGNALS, *IN_WEIGHTS, *IN_NETWORKS, *IN_CHATTTS, *IN_FLASH)
    return {fault.name: fault for fault in every}


def faults_of(variant: str | None) -> dict[str, Fault]:
    """Faults of a model by name, those in parts that it shares with English included; None: all,
    each once."""
    every = faults()
    if variant is None:
        return every
    own = [fault for fault in every.values() if fault.variant == variant]
    shared = in_shared_parts(every.values()) if variant == FLASH else []
    return {fault.name: fault for fault in (*own, *shared)}


@contextmanager
def planted(name: str, networks: object | None) -> Iterator[None]:
    """Plant the fault of this name, or none if the name is empty, until the block ends.

    Args:
        networks: whose weights are changed, for good; None leaves weights alone.

    Raises:
        ParityError: there is no such fault.
    """
    if not name:
        yield
        return
    every = faults()
    if name not in every:
        raise ParityError(f"{name!r} is not a fault; choose from {', '.join(every)}.")
    fault = every[name]
    with ExitStack() as stack:
        # Native code would bypass the layer with the fault.
        stack.enter_context(layer_by_layer())
        if fault.code is not None:
            fault.code(Patches(stack))
        if fault.weights is not None and networks is not None:
            fault.weights(networks)
        yield
