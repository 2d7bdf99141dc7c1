"""Planted faults, tried one at a time: is each caught by `run`, and named by `bisect`?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..compare import compare
from ..faults.planting import planted
from ..mlx.backend import compute_with, record_with
from .bisect import bisect, first_fault
from .both_sides import SmallModel


@dataclass(frozen=True)
class Mutant:
    """Outcome of one planted fault.

    Attributes:
        caught: whether `run` would have shown red.
        named: the layer that `bisect` pointed to; empty if none.
        expected: the layer that it is in.
    """

    fault: str
    caught: bool
    named: str
    expected: str

    @property
    def found(self) -> bool:
        return self.named == self.expected


def try_fault(model: SmallModel, fault) -> Mutant:
    """Plant one fault in a small model, compare and bisect."""
    networks = model.networks()
    with planted(fault.name, networks):
        outputs = compute_with(networks, model.inputs, fault.stages)
        taps = record_with(networks, model.inputs, fault.stages)
    expected = {name: value for name, value in model.outputs.items() if name in outputs}
    caught = not compare(expected, outputs).holds
    finding = first_fault(bisect(model.taps, taps, fault.stages))
    named = "" if finding is None else finding.culprit.actual.name
    return Mutant(fault.name, caught, named, fault.layer)


def mutants_as_text(mutants: Sequence[Mutant]) -> str:
    """Text with a line for each fault, then how many were caught and named."""
    width = max((len(mutant.fault) for mutant in mutants), default=0)
    lines = []
    for mutant in mutants:
        verdict = "caught" if mutant.caught else "NOT CAUGHT"
        where = f"named {mutant.named}"
        if not mutant.found:
            where = f"NAMED {mutant.named or 'nothing'} instead of {mutant.expected}"
        lines.append(f"{mutant.fault.ljust(width)}  {verdict}  {where}")
    caught = sum(mutant.caught for mutant in mutants)
    named = sum(mutant.found for mutant in mutants)
    count = len(mutants)
    return "\n".join([*lines, "", f"{caught} of {count} caught, {named} of {count} named."])
