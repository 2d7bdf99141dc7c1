"""`python -m parity run`: weights to verdict, each step once, in a work folder.

Weights (given, or fabricated) are converted as a user's would be; the reference computes every
stage from the original files, ours from the converted ones, both from one dump of inputs.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mlx_chatterbox.audio.files import load_audio
from mlx_chatterbox.models.config import ModelConfig

from .dumps import read_dump_with_metadata, write_dump
from .inputs.make import inputs_with_pipeline
from .inputs.synthetic_voice import SAMPLE_RATE
from .mlx.backend import compute as compute_mlx
from .numpy.backend import compute as compute_numpy
from .numpy.networks import networks_of
from .precisions import as_float32
from .progress import phase
from .report.provenance import METADATA_NAME, run_metadata
from .report.report import LAYERS_NAME, NUMPY_NAME, TORCH_NAME, ParityReport, dump_name, of_folder
from .settings import RunSettings
from .stages import PIPELINE, STAGES
from .upstream.files import upstream_of
from .upstream.interpreter import find_interpreter
from .upstream.jobs import torch_dump
from .weights import converted_weights, located, upstream_weights
from .whole_file import write_text


def run(settings: RunSettings) -> ParityReport:
    """Compare our networks with both references; the work folder keeps the dumps.

    Raises:
        ParityError: the reference is not installed or failed.
        ChatterboxError: the weights cannot be converted or loaded, or the recording not read.
    """
    # Checked first: without a reference or the recording, minutes of work would be lost.
    python = find_interpreter(settings.reference_python)
    if settings.audio is not None:
        load_audio(settings.audio, SAMPLE_RATE)
    settings = located(settings)
    with work_folder(settings.work) as work:
        folder = work / settings.variant
        folder.mkdir(exist_ok=True)
        return _run_in(folder, settings, python)


def _run_in(work: Path, settings: RunSettings, python: str) -> ParityReport:
    upstream = upstream_weights(work, settings)
    converted = converted_weights(work, upstream, settings)
    dumps = {"inputs": work / "inputs.safetensors", "torch": work / TORCH_NAME}
    for earlier in (METADATA_NAME, LAYERS_NAME):
        (work / earlier).unlink(missing_ok=True)
    with phase("inputs"):
        inputs = inputs_of(converted, settings)
        write_dump(dumps["inputs"], inputs)
    with phase("torch reference"):
        dumps["torch"].unlink(missing_ok=True)
        model = upstream_of(upstream, settings.variant, settings.t3_file)
        torch_dump(python, upstream, dumps["inputs"], dumps["torch"], model.variant, model.t3_file)
    with phase("numpy reference"):
        config = ModelConfig.load(converted)
        by_numpy = compute_numpy(inputs, networks_of(upstream, config, settings.variant))
        dumps["numpy"] = write_dump(work / NUMPY_NAME, by_numpy, {"backend": "numpy"})
    for precision in settings.precisions:
        folder = converted
        if precision != "float32":
            folder = converted_weights(work, upstream, settings, precision)
        dumps[f"mlx {precision}"] = _compute_ours(work, folder, inputs, precision)
    by_torch = read_dump_with_metadata(dumps["torch"])[1]
    metadata = run_metadata(settings, converted, dumps, by_torch)
    write_text(work / METADATA_NAME, json.dumps(metadata, indent=1) + "\n")
    # Read back, so that what is compared is what lies in the files.
    return of_folder(work, settings.precisions)


def _compute_ours(work: Path, folder: Path, inputs: dict, precision: str) -> Path:
    """Write the dump of our networks in a precision, as float32."""
    name = dump_name(precision)
    only = [stage.name for stage in STAGES if stage.name != PIPELINE or precision == "float32"]
    with phase(name.removesuffix(".safetensors")):
        ours = compute_mlx(folder, inputs, only)
        if precision != "float32":
            ours = as_float32(ours)
        metadata = {"backend": "mlx", "precision": precision}
        return write_dump(work / name, ours, metadata)


def inputs_of(converted: Path, settings: RunSettings) -> dict:
    """Inputs for every stage of the model in `converted`."""
    return inputs_with_pipeline(ModelConfig.load(converted), settings.seed, settings.audio)


@contextlib.contextmanager
def work_folder(work: Path | None) -> Iterator[Path]:
    """The given folder, kept; or a temporary one, removed at the end in any case."""
    if work is not None:
        work.mkdir(parents=True, exist_ok=True)
        yield work
        return
    with tempfile.TemporaryDirectory(prefix="mlx-chatterbox-parity-") as temporary:
        yield Path(temporary)
