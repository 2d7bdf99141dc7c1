"""Pictures of an output and its error: mels, waveforms, along time, by layer, a histogram."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..layers.bisect import aligned
from ..layers.profiles import TIME_AXES, error_over_time
from . import plots
from .png import DIFFERENCE, SOUND, as_url, coloured, encode, narrowed

# Outputs shown as images, frequency (or number) upwards and time to the right.
_IMAGES = frozenset(
    {
        *("voice_encoder/mel", "s3_tokenizer/log_mel", "s3_encoder/codes", "speaker_encoder/fbank"),
        *("s3gen/ref_mel", "flow/mu", "flow/mel", "estimator/out"),
        *("decoder/mel", "dvae/mel", "dvae/mel_of_waveform"),
    }
)
# Outputs shown as curves.
_CURVES = frozenset(
    {
        *("resample/ref_16k", "resample/sinc_16k", "source/excitation"),
        *("vocoder/f0", "vocoder/waveform", "watermark/marked"),
        *("pipeline/waveform", "vocos/waveform"),
    }
)
_COLUMNS = 600
_ENOUGH = 8  # values, for a histogram
_SMALLEST, _BINS = -12, 48  # of the histogram: from 1e-12 to 1 of the reference's RMS


@dataclass(frozen=True)
class Picture:
    """A drawing as HTML, and the words under it."""

    content: str
    caption: str


def pictures_of(
    output: str, expected: np.ndarray, actual: np.ndarray, bound: float
) -> list[Picture]:
    """Pictures that explain an output; none where the two arrays do not fit."""
    pair = aligned(expected, actual)
    if pair is None or not expected.size:
        return []
    result = []
    if output in _IMAGES:
        result += _images(output, *pair)
    elif output in _CURVES:
        result += _curves(output, *pair)
    if np.array_equal(*pair):
        return result  # there is no error to draw
    profile = error_over_time(output, expected, actual)
    if profile is not None and len(profile.errors) > 1:
        tokens = expected.dtype.kind != "f"
        what = "share of tokens that differ" if tokens else "error over time"
        limit = bound if bound > 0 and not tokens else None
        drawing = plots.logarithmic(
            profile.seconds, profile.errors, f"{output}: {what}", "s", bound=limit
        )
        dashed = "" if limit is None else "; dashed, the bound"
        result.append(Picture(drawing, f"{output}: {what}{dashed}"))
    if expected.dtype.kind == "f" and expected.size >= _ENOUGH:
        result.append(_histogram(output, *pair))
    return result


def layers_picture(stage: Mapping) -> Picture | None:
    """The errors of a stage's layers in order of computation, from `profiles.as_plain`."""
    layers = stage["layers"]
    if len(layers) < 2:
        return None
    errors = [
        np.inf if layer["output_error"] is None else layer["output_error"] for layer in layers
    ]
    first = stage["differs_first"]
    keys = [f"{layer['name']}#{layer['call']}" for layer in layers]
    marked = keys.index(first) if first in keys else None
    verdict = f"first that differs: {first}" if first else "none differs"
    drawing = plots.logarithmic(
        list(range(len(errors))), errors, f"{stage['stage']}: error by layer", "", marked=marked
    )
    caption = f"error by layer, {len(layers)} calls in order of computation; {verdict}"
    return Picture(drawing, caption)


def _images(output: str, expected: np.ndarray, actual: np.ndarray) -> list[Picture]:
    expected, actual = (_upright(output, side) for side in (expected, actual))
    difference = np.abs(actual.astype(float) - expected.astype(float))
    finite = expected[np.isfinite(expected)]
    low, high = np.percentile(finite, (1, 99.5)) if finite.size else (0.0, 1.0)
    worst = float(np.nanmax(difference, initial=0.0))
    shown = (
        (expected, low, high, SOUND, np.mean, f"{output}, the reference"),
        (actual, low, high, SOUND, np.mean, f"{output}, ours"),
        (difference, 0.0, worst, DIFFERENCE, np.max, f"their difference; lightest: {worst:.1e}"),
    )
    return [
        _image(narrowed(values, _COLUMNS, by), (least, most), colours, caption)
        for values, least, most, colours, by, caption in shown
    ]


def _upright(output: str, values: np.ndarray) -> np.ndarray:
    """(bands, frames), the lowest band in the last row; of a batch the first."""
    time = TIME_AXES[output][0]
    values = np.moveaxis(values, time, -1)
    while values.ndim > 2:
        values = values[0]
    return values[::-1]


def _image(
    values: np.ndarray, span: tuple[float, float], colours: Sequence[str], caption: str
) -> Picture:
    url = as_url(encode(coloured(values, *span, tuple(colours))))
    return Picture(f'<img alt="{html.escape(caption, quote=True)}" src="{url}">', caption)


def _curves(output: str, expected: np.ndarray, actual: np.ndarray) -> list[Picture]:
    seconds = expected.size / TIME_AXES[output][1]
    expected, actual = (side.reshape(-1).astype(float) for side in (expected, actual))
    return [
        Picture(plots.envelope(values, seconds, caption), caption)
        for values, caption in (
            (expected, f"{output}, the reference"),
            (actual, f"{output}, ours"),
            (actual - expected, "their difference"),
        )
    ]


def _histogram(output: str, expected: np.ndarray, actual: np.ndarray) -> Picture:
    expected, actual = (side.astype(np.float64).reshape(-1) for side in (expected, actual))
    scale = float(np.sqrt(np.mean(expected**2)))
    with np.errstate(divide="ignore", invalid="ignore"):
        exponents = np.log10(np.abs(actual - expected) / (scale or 1.0))
    equal = float(np.mean(actual == expected))
    some = np.clip(exponents[np.isfinite(exponents)], _SMALLEST, 0)
    counts, edges = np.histogram(some, bins=_BINS, range=(_SMALLEST, 0))
    caption = f"{output}: how far each value is off, as part of the reference's RMS"
    drawing = plots.histogram(counts.tolist(), edges.tolist(), caption)
    return Picture(drawing, f"{caption}; {equal:.0%} are equal to the last bit")
