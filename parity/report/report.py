"""The report of a run, from its dumps; every format is written from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .. import COMMAND
from ..compare import Comparison, compare
from ..dumps import read_dump
from ..errors import ParityError
from ..precisions import PRECISIONS
from ..tables.stage import CHATTTS
from . import checked_json
from .checked_json import read_metadata
from .provenance import METADATA_NAME

LAYERS_NAME = "layers.json"
TORCH_NAME, NUMPY_NAME = "torch.safetensors", "numpy.safetensors"
Arrays = Mapping[str, np.ndarray]


@dataclass
class ParityReport:
    """Content of a report, from which every format is written.

    Attributes:
        metadata: `provenance.run_metadata`, or whatever is known.
        reference, actual: the dumps of the first comparison, for pictures.
        layers: `profiles.as_plain`; empty where layers were not compared.
    """

    comparisons: Sequence[Comparison]
    metadata: Mapping = field(default_factory=dict)
    reference: Arrays = field(default_factory=dict)
    actual: Arrays = field(default_factory=dict)
    layers: Sequence[Mapping] = ()


def dump_name(precision: str) -> str:
    """Name of the file in a run's folder with our networks' dump."""
    return "mlx.safetensors" if precision == "float32" else f"mlx-{precision}.safetensors"


def of_folder(folder: Path, precisions: Sequence[str] | None = None) -> ParityReport:
    """Read the report of a run's folder, from the dumps in it.

    Args:
        folder: `WORK/VARIANT` of `run --work WORK`.
        precisions: those to report; None: those of the run, by its `about.json`.

    Raises:
        ParityError: a dump is not there or damaged.
    """
    metadata = read_metadata(folder / METADATA_NAME)
    if precisions is None:
        there = [name for name in PRECISIONS if (folder / dump_name(name)).is_file()]
        precisions = metadata.get("precisions") or there
    references = [name for name in (TORCH_NAME, NUMPY_NAME) if (folder / name).is_file()]
    # ChatTTS on other weights than those of its stored reference has NumPy's alone.
    is_whole = TORCH_NAME in references or metadata.get("variant") == CHATTTS
    if not precisions or not references or not is_whole:
        raise ParityError(
            f"{folder} has no dumps of a run: {TORCH_NAME}, {dump_name('float32')}. They are kept "
            f"by `{COMMAND} run --work WORK`, in WORK/VARIANT."
        )
    by_torch, by_numpy = (
        read_dump(folder / name) if name in references else {} for name in (TORCH_NAME, NUMPY_NAME)
    )
    dumps = {name: read_dump(folder / dump_name(name)) for name in precisions}
    comparisons = []
    for precision, ours in dumps.items():
        name = "mlx" if precision == "float32" else f"mlx {precision}"
        if by_torch:
            comparisons.append(compare(by_torch, ours, names=(name, "torch"), precision=precision))
        if by_numpy and (precision == "float32" or not by_torch):
            comparisons.append(compare(by_numpy, ours, names=(name, "numpy"), precision=precision))
    if by_numpy and by_torch:
        common = {name: by_torch[name] for name in by_numpy if name in by_torch}
        comparisons.append(compare(common, by_numpy, names=("numpy", "torch")))
    first = next(iter(dumps.values()))
    path = folder / LAYERS_NAME
    layers = checked_json.read_layers(path, "no errors by layer") if path.exists() else []
    return ParityReport(comparisons, metadata, by_torch or by_numpy, first, layers)


def read_layers(path: Path) -> list:
    """Read a file of `python -m parity bisect --json`.

    Raises:
        ParityError: not readable as that.
    """
    return checked_json.read_layers(path, f"not what `{COMMAND} bisect --json` writes")
