"""Lines, bars and envelopes as SVG for a page, whose style gives them their colours.

Drawn at the size that they have on a phone, so that letters stay readable there.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

WIDTH, HEIGHT = 352, 150
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 14, 8, 24
_MOST_DECADES = 9  # shown: what is smaller is at the bottom
_PLOT_WIDTH = WIDTH - _LEFT - _RIGHT
_PLOT_HEIGHT = HEIGHT - _TOP - _BOTTOM


def logarithmic(
    places: Sequence[float],
    values: Sequence[float],
    label: str,
    unit: str = "",
    bound: float | None = None,
    marked: int | None = None,
) -> str:
    """A line on a logarithmic scale, which shows zeros at the bottom.

    Args:
        places: where each value stands, ascending.
        label: what it shows, for who cannot see it.
        unit: of the places.
        bound: a line across.
        marked: index of a value to point at.
    """
    drawable = [v for v in (*values, *([] if bound is None else [bound])) if 0 < v < math.inf]
    low, high = _decades(drawable)
    start, end = (places[0], places[-1]) if len(places) > 1 else (0.0, 1.0)

    def x(place: float) -> float:
        return _LEFT + _PLOT_WIDTH * (place - start) / ((end - start) or 1.0)

    def y(value: float) -> float:
        if not value > 0:
            return _TOP + _PLOT_HEIGHT
        exponent = high if math.isinf(value) else math.log10(value)
        share = (min(max(exponent, low), high) - low) / (high - low)
        return _TOP + _PLOT_HEIGHT * (1 - share)

    step = math.ceil((high - low) / 4)
    grid = [_across(y(10.0**e), f"1e{e}") for e in range(low, high + 1, step)]
    parts = [*grid, *_below(start, end, unit)]
    if bound is not None:
        parts.append(f'<path class="bound" d="M{_LEFT} {y(bound):.1f}h{_PLOT_WIDTH}"/>')
    points = " ".join(
        f"{x(p):.1f},{y(v):.1f}" for p, v in zip(places, values, strict=True) if not math.isnan(v)
    )
    parts.append(f'<polyline class="line" points="{points}"/>')
    if marked is not None:
        at = (x(places[marked]), y(values[marked]))
        parts.append(f'<circle class="mark" cx="{at[0]:.1f}" cy="{at[1]:.1f}" r="4"/>')
    return _drawing(label, parts)


def histogram(counts: Sequence[int], exponents: Sequence[float], label: str) -> str:
    """Bars of how many values there are between powers of ten.

    Args:
        counts: (n,)
        exponents: (n + 1,) edges, of ten.
    """
    most, (start, end) = max(counts, default=0) or 1, (exponents[0], exponents[-1])
    parts = []
    for count, a, b in zip(counts, exponents[:-1], exponents[1:], strict=True):
        left = _LEFT + _PLOT_WIDTH * (a - start) / (end - start)
        width = _PLOT_WIDTH * (b - a) / (end - start)
        height = _PLOT_HEIGHT * count / most
        if count:
            parts.append(
                f'<rect class="bar" x="{left:.1f}" y="{_TOP + _PLOT_HEIGHT - height:.1f}" '
                f'width="{max(width - 1, 0.5):.1f}" height="{height:.1f}"/>'
            )
    for exponent in range(math.ceil(start), math.floor(end) + 1, 3):
        left = _LEFT + _PLOT_WIDTH * (exponent - start) / (end - start)
        parts.append(f'<text x="{left:.1f}" y="{HEIGHT - 8}" class="m">1e{exponent}</text>')
    return _drawing(label, [_across(_TOP + _PLOT_HEIGHT, ""), *parts])


def envelope(values: np.ndarray, seconds: float, label: str, columns: int = 300) -> str:
    """A waveform or another curve: least and most of each stretch, on a linear scale."""
    values = np.nan_to_num(values.astype(float))
    edges = np.linspace(0, len(values), min(columns, len(values)) + 1).astype(int)
    pairs = [(values[a:b].min(), values[a:b].max()) for a, b in pairwise(edges)]
    low, high = min(values.min(), 0.0), max(values.max(), 0.0)
    span = (high - low) or 1.0

    def y(value: float) -> float:
        return _TOP + _PLOT_HEIGHT * (high - value) / span

    def x(index: int) -> float:
        return _LEFT + _PLOT_WIDTH * index / max(len(pairs) - 1, 1)

    there = [f"{x(i):.1f},{y(most):.1f}" for i, (_, most) in enumerate(pairs)]
    back = [f"{x(i):.1f},{y(least):.1f}" for i, (least, _) in enumerate(pairs)]
    shown = sorted({low, 0.0, high})
    parts = [_across(y(value), f"{value:.2g}") for value in shown]
    parts += [f'<polygon class="area" points="{" ".join([*there, *reversed(back)])}"/>']
    return _drawing(label, [*parts, *_below(0.0, seconds, "s")])


def _decades(values: Sequence[float]) -> tuple[int, int]:
    """Whole powers of ten around the values, at least two and at most `_MOST_DECADES`."""
    if not values:
        return -9, 0
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return max(low, high - _MOST_DECADES), max(high, low + 2)


def _across(y: float, text: str) -> str:
    return (
        f'<path class="grid" d="M{_LEFT} {y:.1f}h{_PLOT_WIDTH}"/>'
        f'<text x="{_LEFT - 5}" y="{y + 4:.1f}" class="e">{text}</text>'
    )


def _below(start: float, end: float, unit: str) -> list[str]:
    unit = f" {html.escape(unit)}" if unit else ""
    return [
        f'<text x="{_LEFT}" y="{HEIGHT - 8}">{start:.3g}</text>',
        f'<text x="{WIDTH - _RIGHT}" y="{HEIGHT - 8}" class="e">{end:.3g}{unit}</text>',
    ]


def _drawing(label: str, parts: Sequence[str]) -> str:
    name = html.escape(label, quote=True)
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{name}">{"".join(parts)}</svg>'
    )
