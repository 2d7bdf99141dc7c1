"""Errors as data for pictures: layer by layer in order of computation, and along time.

Nothing is drawn here; `as_plain` is what JSON takes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise

import numpy as np

from .bisect import Bisection, aligned

# Time axis of each output that has one, and its entries per second
# (tokens, frames, samples).
TIME_AXES: dict[str, tuple[int, float]] = {
    "voice_encoder/mel": (0, 100.0),
    "s3_tokenizer/log_mel": (1, 100.0),
    "s3_tokenizer/tokens": (0, 25.0),
    "s3_encoder/codes": (0, 25.0),
    "speaker_encoder/fbank": (0, 100.0),
    "s3gen/ref_mel": (0, 50.0),
    "resample/ref_16k": (0, 16_000.0),
    "resample/sinc_16k": (0, 16_000.0),
    "t3/logits": (-2, 25.0),
    "t3/greedy_tokens": (0, 25.0),
    "flow/mu": (0, 50.0),
    "flow/mel": (0, 50.0),
    "estimator/out": (2, 50.0),
    "source/excitation": (0, 24_000.0),
    "vocoder/f0": (0, 50.0),
    "vocoder/waveform": (0, 24_000.0),
    "watermark/marked": (0, 24_000.0),
    "pipeline/tokens": (0, 25.0),
    "pipeline/waveform": (0, 24_000.0),
    "gpt/text/hidden": (1, 46.875),
    "gpt/code/hidden": (1, 46.875),
    "gpt/code/logits_tail": (1, 46.875),
    "generate/code/ids_0": (0, 46.875),
    "generate/code/ids_1": (0, 46.875),
    "decoder/mel": (2, 93.75),
    "dvae/features": (2, 46.875),
    "dvae/mel": (2, 93.75),
    "dvae/mel_of_waveform": (1, 93.75),
    "dvae/encoded_ids": (1, 46.875),
    "vocos/waveform": (1, 24_000.0),
}


@dataclass(frozen=True)
class LayerError:
    """A call of a layer, in a stage's order of computation.

    Attributes:
        order: 0, 1, 2, ... in the stage.
        input_error: None where no input is compared.
    """

    stage: str
    order: int
    name: str
    call: int
    input_error: float | None
    output_error: float


@dataclass(frozen=True)
class TimeProfile:
    """An output's error along time.

    Attributes:
        seconds: (P,) the middle of each stretch.
        errors: (P,) RMS of the difference in the stretch over the RMS of the whole reference; of
            tokens the share that is unequal.
    """

    output: str
    seconds: tuple[float, ...]
    errors: tuple[float, ...]


def layer_errors(finding: Bisection) -> list[LayerError]:
    """Errors of all calls that both sides have in a stage."""
    return [
        LayerError(
            finding.stage,
            order,
            step.actual.name,
            step.actual.call,
            step.input_error if step.inputs else None,
            step.output_error,
        )
        for order, step in enumerate(finding.steps)
    ]


def error_over_time(
    output: str, expected: np.ndarray, actual: np.ndarray, points: int = 200
) -> TimeProfile | None:
    """Error of an output along time; None without a time axis, or if the two do not fit.

    Args:
        points: at most so many stretches.
    """
    pair = aligned(expected, actual)
    if output not in TIME_AXES or pair is None or not expected.size:
        return None
    axis, rate = TIME_AXES[output]
    expected, actual = (np.moveaxis(side, axis, 0).astype(np.float64) for side in pair)
    count, is_whole = len(expected), pair[0].dtype.kind != "f"
    edges = np.linspace(0, count, min(points, count) + 1).astype(int)
    if is_whole:
        wrong, scale = (expected != actual).astype(float), 1.0
    else:
        wrong, scale = (actual - expected) ** 2, math.sqrt(float(np.mean(expected**2))) or 1.0
    means = [float(np.mean(wrong[a:b])) for a, b in pairwise(edges)]
    errors = means if is_whole else [math.sqrt(mean) / scale for mean in means]
    middles = [float(a + b) / 2 / rate for a, b in pairwise(edges)]
    return TimeProfile(output, tuple(middles), tuple(errors))


def over_time(
    expected: Mapping[str, np.ndarray], actual: Mapping[str, np.ndarray], points: int = 200
) -> list[TimeProfile]:
    """Error profiles of all outputs of two dumps that have a time axis."""
    profiles = (
        error_over_time(name, expected[name], actual[name], points)
        for name in expected
        if name in actual
    )
    return [profile for profile in profiles if profile is not None]


def as_plain(findings: Sequence[Bisection]) -> list[dict]:
    """Data for JSON, per stage: layers' errors, and the layer that differs first (or null).

    An error that is infinite, as where shapes differ, is null.
    """
    return [
        {
            "stage": finding.stage,
            "differs_first": finding.culprit and finding.culprit.actual.key,
            "inside": finding.inside and finding.inside.actual.key,
            "layers": [_finite(asdict(layer)) for layer in layer_errors(finding)],
        }
        for finding in findings
    ]


def _finite(values: dict) -> dict:
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in values.items()
    }
