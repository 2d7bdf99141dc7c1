"""The report of a run in all its formats, from its dumps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from . import checked_json
from .checked_json import read_about
from .compare import Comparison, compare
from .dumps import read_dump
from .errors import ParityError
from .precisions import PRECISIONS
from .provenance import ABOUT_NAME

LAYERS_NAME = "layers.json"
TORCH_NAME, NUMPY_NAME = "torch.safetensors", "numpy.safetensors"
Arrays = Mapping[str, np.ndarray]


@dataclass
class Report:
    """What is reported.

    Attributes:
        about: `provenance.about`, or whatever is known.
        reference, found: the dumps behind the first comparison, for pictures.
        layers: `profiles.as_plain`; empty where layers were not compared.
    """

    comparisons: Sequence[Comparison]
    about: Mapping = field(default_factory=dict)
    reference: Arrays = field(default_factory=dict)
    found: Arrays = field(default_factory=dict)
    layers: Sequence[Mapping] = ()


def dump_name(precision: str) -> str:
    """The file in a run's folder with our networks' dump."""
    return "mlx.safetensors" if precision == "float32" else f"mlx-{precision}.safetensors"


def of_folder(folder: Path, precisions: Sequence[str] | None = None) -> Report:
    """The report of a run's folder, from the dumps in it.

    Args:
        folder: `WORK/VARIANT` of `run --work WORK`.
        precisions: those to report; None: those of the run, by its `about.json`.

    Raises:
        ParityError: a dump is not there or damaged.
    """
    known = read_about(folder / ABOUT_NAME)
    if precisions is None:
        there = [one for one in PRECISIONS if (folder / dump_name(one)).is_file()]
        precisions = known.get("precisions") or there
    if not precisions or not (folder / TORCH_NAME).is_file():
        raise ParityError(
            f"{folder} has no dumps of a run: {TORCH_NAME}, {dump_name('float32')}. They are kept "
            "by `python -m parity run --work WORK`, in WORK/VARIANT."
        )
    by_torch = read_dump(folder / TORCH_NAME)
    by_numpy = read_dump(folder / NUMPY_NAME) if (folder / NUMPY_NAME).is_file() else {}
    dumps = {one: read_dump(folder / dump_name(one)) for one in precisions}
    comparisons = []
    for precision, ours in dumps.items():
        name = "mlx" if precision == "float32" else f"mlx {precision}"
        comparisons.append(compare(by_torch, ours, names=(name, "torch"), precision=precision))
        if precision == "float32" and by_numpy:
            comparisons.append(compare(by_numpy, ours, names=(name, "numpy")))
    if by_numpy:
        common = {name: by_torch[name] for name in by_numpy if name in by_torch}
        comparisons.append(compare(common, by_numpy, names=("numpy", "torch")))
    first = next(iter(dumps.values()))
    path = folder / LAYERS_NAME
    layers = checked_json.read_layers(path, "no errors by layer") if path.exists() else []
    return Report(comparisons, known, by_torch, first, layers)


def write_all(report: Report, folder: Path) -> list[Path]:
    """Every format, in `folder`, which is made; returns the files.

    Raises:
        ParityError: it cannot be written.
    """
    from . import junit, report_page, sharing, tables

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ParityError(f"{folder} cannot be made: {error}.") from error
    texts = {
        "report.html": report_page.as_html(report),
        "report.md": tables.as_markdown(report.comparisons, report.about),
        "report.json": tables.as_json(report.comparisons, report.about),
        "junit.xml": junit.as_junit(report.comparisons),
        "share.json": sharing.as_json(report),
    }
    for name, text in texts.items():
        tables.write_file(folder / name, text)
    return [folder / name for name in texts]


def read_layers(path: Path) -> list:
    """What `python -m parity bisect --json` wrote.

    Raises:
        ParityError: not readable as that.
    """
    return checked_json.read_layers(path, "not what `python -m parity bisect --json` writes")
