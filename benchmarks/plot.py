"""The table as a picture: each stage's time beside PyTorch's, shorter is faster."""

from __future__ import annotations

from pathlib import Path
from statistics import median

from .errors import BenchmarkError
from .measure import Measured
from .report import in_units
from .stages import ENGINES, STAGES, TITLES

COLOURS = {"ours": "#2da44e", "mlx-audio": "#8250df", "torch": "#bf8700"}
# Longer bars are cut, with a mark; the others would be too short to compare.
LONGEST = 4.0
BAR = 0.8


def require_matplotlib() -> None:
    """Raise BenchmarkError unless matplotlib is installed, before minutes of work."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise BenchmarkError(
            "--plot needs matplotlib: pip install 'mlx-chatterbox[bench]'."
        ) from None


def draw(measured: Measured, path: Path, title: str) -> Path:
    """Write a PNG (or whatever the path's ending says).

    Bars are times over PyTorch's, or over ours where a stage or the run has no PyTorch; each bears
    its absolute time.

    Raises:
        BenchmarkError: matplotlib is not installed, or the file cannot be written.
    """
    require_matplotlib()
    from matplotlib.figure import Figure

    stages = list(measured.seconds)
    present = {name for engines in measured.seconds.values() for name in engines}
    engines = [name for name in ENGINES if name in present]
    figure = Figure(figsize=(9, 1.2 + 0.26 * len(stages) * (len(engines) + 0.6)), dpi=150)
    axes = figure.add_subplot()
    height = BAR / len(engines)
    for place, engine in enumerate(engines):
        shown = [s for s in stages if engine in measured.seconds[s]]
        lengths = [_relative(measured.seconds[s], engine) for s in shown]
        rows = [stages.index(s) - BAR / 2 + (place + 0.5) * height for s in shown]
        axes.barh(
            rows,
            [min(length, LONGEST) for length in lengths],
            height,
            color=COLOURS[engine],
            label=TITLES[engine],
        )
        for stage, row, length in zip(shown, rows, lengths, strict=True):
            text = in_units(median(measured.seconds[stage][engine]))
            if length > LONGEST:
                text = f"{text}, {length:.1f} times"
            axes.text(min(length, LONGEST) + 0.03, row, text, va="center", fontsize=8)
    base = TITLES["torch" if "torch" in engines else "ours"]
    axes.axvline(1.0, color="#6e7781", linewidth=0.8)
    axes.set_yticks(range(len(stages)), [STAGES[s].title for s in stages])
    axes.invert_yaxis()
    axes.set_xlim(0, LONGEST + 1.0)
    axes.set_xlabel(f"time, {base} = 1 (shorter is faster)")
    axes.set_title(title, fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower right", frameon=False)
    try:
        figure.savefig(path, bbox_inches="tight")
    except (OSError, ValueError) as error:
        raise BenchmarkError(f"--plot {path} cannot be written: {error}.") from error
    return path


def _relative(seconds: dict[str, list[float]], engine: str) -> float:
    base = "torch" if "torch" in seconds else "ours"
    return median(seconds[engine]) / median(seconds[base])
