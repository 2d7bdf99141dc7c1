"""What of a dump of inputs is not used, and why: nothing is left out in silence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..progress import say
from ..stages import computable, expanded
from ..tables.stage import Stage

_NAMED = 5


def say_unused(names: Iterable[str], table: Sequence[Stage], where: object) -> None:
    """Print a line for each stage that lacks inputs, and one with names that no stage takes.

    Args:
        names: of the tensors of a dump.
        table: the stages of its model.
        where: the dump's file, for the lines.
    """
    names = list(names)
    stages = expanded(names, table)
    used = {
        name
        for stage in stages
        if set(stage.inputs) <= set(names)
        for name in (*stage.inputs, *stage.optional_inputs)
    }
    said: set[str] = set()
    for stage in stages:
        missing = [name for name in stage.inputs if name not in names]
        own = [name for name in stage.inputs if name in names and name not in used]
        if missing and own:
            say(f"{where}: {stage.name} is left out, since {', '.join(missing)} is missing.")
            said.update(own)
    used |= said
    outputs = {output.name for stage in stages for output in stage.outputs}
    computed = sum(name in outputs for name in names)
    if computed:
        say(f"{where}: {computed} outputs of stages in it are not read; they are computed.")
    unknown = [name for name in names if name not in used | outputs]
    if unknown:
        more = f" and {len(unknown) - _NAMED} more" if len(unknown) > _NAMED else ""
        say(f"{where}: no stage of this model takes {', '.join(unknown[:_NAMED])}{more}.")


def say_deeper(inputs: Iterable[str], outputs: Iterable[str]) -> None:
    """Print a line for each state of a layer that the model does not have."""
    made = set(outputs)
    named = (output.name for stage in computable(inputs) for output in stage.outputs)
    for name in named:
        is_state = "/layer_" in name and f"{name.rpartition('/')[0]}/hidden" in made
        if is_state and name not in made:
            say(f"{name}: left out, since the model has fewer layers.")
