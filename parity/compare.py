"""Comparison of two dumps: every output of the table, its error and its bound.

What the reference holds must be there, of the same shape and dtype, finite, and within its bound.
Inputs, stages the reference does not have, and extra tensors are ignored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from .errors import ParityError
from .precisions import with_bound
from .stages import expanded, is_of_float32
from .tables.stage import EQUAL, MAX_ABS, UNEQUAL_SHARE, StageOutput


@dataclass(frozen=True)
class OutputVerdict:
    """The verdict on one output. `error` is None where the two could not be subtracted."""

    stage: str
    output: str
    measure: str
    error: float | None
    bound: float
    holds: bool
    problem: str = ""


@dataclass(frozen=True)
class Comparison:
    """Verdicts on all outputs of one dump against one reference; the names are for the table."""

    checked: str
    reference: str
    rows: tuple[OutputVerdict, ...]
    precision: str = "float32"

    @property
    def holds(self) -> bool:
        return all(row.holds for row in self.rows)


def compare(
    reference: Mapping[str, np.ndarray],
    checked: Mapping[str, np.ndarray],
    *,
    names: tuple[str, str] = ("out", "reference"),
    precision: str = "float32",
) -> Comparison:
    """Compare `checked` with `reference`.

    Args:
        reference: tensors by name; only the table's outputs count.
        checked: the same, of the program in question.
        names: how to call the two, `checked` first.
        precision: of `checked`, one of `precisions.PRECISIONS`; says which bounds hold.

    Raises:
        ParityError: the reference has no output of the table, so that nothing could be compared.
    """
    rows = tuple(
        _verdict(
            stage.name,
            with_bound(output, precision),
            *_compared(output, reference, checked),
        )
        for stage in expanded(reference)
        for output in stage.outputs
        if output.name in reference and (precision == "float32" or not is_of_float32(stage, output))
    )
    if not rows:
        raise ParityError(
            "the reference has no output of any parity stage: nothing to compare. Is it a dump "
            "of inputs, or of another program?"
        )
    return Comparison(names[0], names[1], rows, precision)


def all_hold(comparisons: Iterable[Comparison]) -> bool:
    """True if there is at least one comparison and every verdict in them holds."""
    comparisons = tuple(comparisons)
    return bool(comparisons) and all(comparison.holds for comparison in comparisons)


def relative_rms(reference: np.ndarray, checked: np.ndarray) -> float:
    """Root mean square of the difference over that of the reference, in float64.

    A reference of zeros allows no difference: the error is then 0 or infinite.
    """
    reference = reference.astype(np.float64)
    difference = _rms(checked.astype(np.float64) - reference)
    scale = _rms(reference)
    if scale == 0.0:
        return 0.0 if difference == 0.0 else float("inf")
    return difference / scale


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values)))) if values.size else 0.0


def _verdict(
    stage: str, output: StageOutput, reference: np.ndarray, checked: np.ndarray | None
) -> OutputVerdict:
    error, problem = None, _problem(reference, checked)
    # Tokens may also be fewer or more.
    counts = output.measure == UNEQUAL_SHARE and checked is not None
    if counts and reference.ndim == checked.ndim and reference.shape[1:] == checked.shape[1:]:
        error, problem = _unequal_share(reference, checked), ""
        if not error <= output.bound:
            problem = f"{error:.3g} is over the bound of {output.bound:.3g}"
    elif not problem:
        error = _error(output.measure, reference, checked)
        if not error <= output.bound:
            problem = f"{error:.3g} is over the bound of {output.bound:.3g}"
    return OutputVerdict(
        stage, output.name, output.measure, error, output.bound, not problem, problem
    )


def _compared(
    output: StageOutput,
    reference: Mapping[str, np.ndarray],
    checked: Mapping[str, np.ndarray],
) -> tuple[np.ndarray, np.ndarray | None]:
    """Both sides of an output, zero where its mask, if the reference has it, is 0."""
    expected, actual = reference[output.name], checked.get(output.name)
    if actual is None or actual.shape != expected.shape or output.mask not in reference:
        return expected, actual
    return without_padding(expected, output, reference), without_padding(actual, output, reference)


def without_padding(
    values: np.ndarray, output: StageOutput, inputs: Mapping[str, np.ndarray]
) -> np.ndarray:
    """An output of the table with zeros where its mask, if it is among `inputs`, is 0."""
    if output.mask not in inputs:
        return values
    there = np.asarray(inputs[output.mask]) == 1
    if there.shape != values.shape[: there.ndim]:
        return values
    there = there.reshape(*there.shape, *(1,) * (values.ndim - there.ndim))
    return np.where(there, values, values.dtype.type(0))


def _unequal_share(reference: np.ndarray, checked: np.ndarray) -> float:
    """Share of the reference's entries that differ from `checked` at the same place."""
    both = min(len(reference), len(checked))
    equal = np.count_nonzero(reference[:both] == checked[:both])
    return 1.0 - equal / max(reference.size, 1)


def _problem(reference: np.ndarray, checked: np.ndarray | None) -> str:
    """Reason why the two cannot be subtracted; empty if they can."""
    if checked is None:
        return "missing"
    if checked.shape != reference.shape:
        return f"shape {checked.shape} instead of {reference.shape}"
    if checked.dtype != reference.dtype:
        return f"dtype {checked.dtype} instead of {reference.dtype}"
    for name, values in (("the reference", reference), ("the result", checked)):
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            return f"NaN or infinity in {name}"
    return ""


def _error(measure: str, reference: np.ndarray, checked: np.ndarray) -> float:
    if measure == EQUAL or reference.dtype.kind != "f":
        return float(np.count_nonzero(reference != checked))
    if measure == MAX_ABS:
        difference = checked.astype(np.float64) - reference.astype(np.float64)
        return float(np.abs(difference).max(initial=0.0))
    return relative_rms(reference, checked)
