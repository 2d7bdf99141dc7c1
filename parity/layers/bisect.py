"""Search for the first layer that differs: two sides' taps in the order of computation.

A layer is to blame if what it was given agrees and what it made does not. Layers end before what
contains them, so the first such tap in that order is the innermost one: a convolution by itself, or
a block whose parts are all right but put together wrongly, or a stage's own code.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ..compare import relative_rms
from ..errors import ParityError
from ..taps.recording import Arrays, Tap

# Errors up to this agree: layers differ by 1e-7 to 1e-5 in float32 (the logarithms of almost
# nothing most), a fault that matters makes 1e-4 and more.
TOLERANCE = 3e-5
# A stage's own outputs have the bound of `run`.
STAGE_TOLERANCE = 1e-4
# A layer that amplifies its input's error by less than this is not to blame.
GROWTH = 8.0


@dataclass(frozen=True)
class Step:
    """A call of a layer on both sides.

    Attributes:
        actual, expected: the checked side's tap and the reference's.
        inputs, outputs: error of each that both have: relative RMS, infinite where the shapes
            differ; of integers the share that is unequal.
    """

    actual: Tap
    expected: Tap
    inputs: dict[str, float]
    outputs: dict[str, float]

    @property
    def input_error(self) -> float:
        return max(self.inputs.values(), default=0.0)

    @property
    def output_error(self) -> float:
        return max(self.outputs.values(), default=0.0)


@dataclass(frozen=True)
class Bisection:
    """Result of the search in one stage.

    Attributes:
        steps: all calls that both sides have, in order of computation.
        culprit: the first whose output differs though its input does not; None if all is well.
        inside: within it, the first part that was already given something else; None if nothing
            was, and for a layer without parts.
    """

    stage: str
    steps: tuple[Step, ...]
    culprit: Step | None
    inside: Step | None

    @property
    def unmatched(self) -> bool:
        """True if nothing could be compared."""
        return not self.steps


def bisect(
    expected: Sequence[Tap],
    actual: Sequence[Tap],
    only: Iterable[str] | None = None,
    tolerance: float = TOLERANCE,
) -> list[Bisection]:
    """Compare two sides' taps, stage by stage.

    Args:
        expected: the reference's.
        actual: of what is checked; its order is the one walked.
        only: names of stages.
        tolerance: of the relative RMS error up to which two arrays agree.

    Raises:
        ParityError: they have no stage in common.
    """
    references = {(tap.stage, tap.key): tap for tap in expected}
    wanted = None if only is None else set(only)
    names = [tap.stage for tap in actual if tap.is_stage]
    names = [name for name in names if wanted is None or name in wanted]
    stages = [name for name in names if (name, f"{name}#1") in references]
    if not stages:
        raise ParityError("the two sides' taps have no stage in common.")
    return [_bisect_stage(stage, references, actual, tolerance) for stage in stages]


def first_fault(findings: Sequence[Bisection]) -> Bisection | None:
    """The first stage with something wrong; the stages are independent of each other."""
    return next((finding for finding in findings if finding.culprit), None)


def _bisect_stage(
    stage: str, references: dict, actual: Sequence[Tap], tolerance: float
) -> Bisection:
    steps = tuple(
        _step(references[stage, tap.key], tap)
        for tap in actual
        if tap.stage == stage and (stage, tap.key) in references
    )
    culprit = next((step for step in steps if _is_to_blame(step, tolerance)), None)
    inside = None if culprit is None else _first_inside(culprit, steps, tolerance)
    return Bisection(stage, steps, culprit, inside)


def _is_to_blame(step: Step, tolerance: float) -> bool:
    if step.actual.is_stage:
        return step.output_error > max(tolerance, STAGE_TOLERANCE)
    return step.output_error > max(tolerance, GROWTH * step.input_error)


def _first_inside(culprit: Step, steps: Sequence[Step], tolerance: float) -> Step | None:
    parents = {step.actual.key: step.actual.parent for step in steps}
    inner = []
    for step in steps:
        parent = step.actual.parent
        while parent and parent != culprit.actual.key:
            parent = parents.get(parent, "")
        if parent:
            inner.append(step)
    differing = [step for step in inner if step.input_error > tolerance]
    return min(differing, key=lambda step: step.actual.started, default=None)


def _step(expected: Tap, actual: Tap) -> Step:
    return Step(
        actual,
        expected,
        _errors(expected.inputs, actual.inputs),
        _errors(expected.outputs, actual.outputs),
    )


def _errors(expected: Arrays, actual: Arrays) -> dict[str, float]:
    return {name: error(expected[name], actual[name]) for name in expected if name in actual}


def error(expected: np.ndarray, actual: np.ndarray) -> float:
    """Relative RMS error; of integers the share that is unequal; infinite where nothing fits."""
    pair = aligned(expected, actual)
    if pair is None:
        return float("inf")
    expected, actual = pair
    if expected.dtype.kind != "f":
        return float(np.mean(expected != actual)) if expected.size else 0.0
    if not np.isfinite(actual).all() and np.isfinite(expected).all():
        return float("inf")
    return relative_rms(expected, actual)


def aligned(expected: np.ndarray, actual: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Bring two arrays to one shape; None if they do not fit.

    One side may lack axes of length one, or have rows of a batch one after another, or one row
    where the other has the same row for each.
    """
    if expected.shape == actual.shape:
        return expected, actual
    first, second = np.squeeze(expected), np.squeeze(actual)
    if first.shape == second.shape:
        return first, second
    if expected.ndim != actual.ndim and min(expected.ndim, actual.ndim) > 1:
        width = expected.shape[-1]
        if expected.size == actual.size and width == actual.shape[-1]:
            return expected.reshape(-1, width), actual.reshape(-1, width)
    if first.ndim == second.ndim:
        first, second = expected, actual
    elif first.ndim < second.ndim:
        first = first[None]
    else:
        second = second[None]
    same = first.ndim == second.ndim > 0 and first.shape[1:] == second.shape[1:]
    if not same or 1 not in (len(first), len(second)):
        return None
    return tuple(np.broadcast_arrays(first, second))


_SHOWN_BEFORE, _SHOWN_AFTER = 4, 6


def as_text(findings: Sequence[Bisection]) -> str:
    """Text with a line for each stage, then the layers around the first that differs."""
    lines = []
    for finding in findings:
        worst = max((step.output_error for step in finding.steps), default=0.0)
        verdict = f"all agree, at most {worst:.1e} apart"
        if finding.culprit:
            verdict = f"differs first in {finding.culprit.actual.key}"
        lines.append(f"{finding.stage}: {len(finding.steps)} calls compared, {verdict}")
    fault = first_fault(findings)
    return "\n".join([*lines, *([] if fault is None else ["", *_around(fault)])])


def _around(finding: Bisection) -> list[str]:
    culprit, steps = finding.culprit, list(finding.steps)
    place = steps.index(culprit)
    inside = finding.inside and steps.index(finding.inside)
    first = max(0, min(place, place if inside is None else inside) - _SHOWN_BEFORE)
    shown = steps[first : place + 1 + _SHOWN_AFTER]
    if len(shown) > _SHOWN_BEFORE + _SHOWN_AFTER + 12:
        shown = [*shown[: _SHOWN_BEFORE + 4], *steps[place - 4 : place + 1 + _SHOWN_AFTER]]
    rows = [("layer, in order of computation", "input", "output", "")]
    for step in shown:
        note = "<- given the right thing, makes another" if step is culprit else ""
        if step is finding.inside:
            note = "<- the first inside it that is given something else"
        errors = (
            f"{step.input_error:.1e}" if step.inputs else "-",
            f"{step.output_error:.1e}",
        )
        rows.append((step.actual.key, *errors, note))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [
        "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    lines.insert(1, "  ".join("-" * width for width in widths[:3]))
    what = "the stage's own code" if culprit.actual.is_stage else f"layer {culprit.actual.name}"
    return [f"stage {finding.stage}: {what} is the first that differs.", "", *lines]
