"""`python -m parity run`: weights to verdict, each step once, in a work folder.

Weights (given, or fabricated) are converted as a user's would be; the reference computes every
stage from the original files, ours from the converted ones, both from one dump of inputs.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from mlx_chatterbox.audio.files import load_audio
from mlx_chatterbox.models.config import ModelConfig

from .dumps import read_dump_with_metadata, write_dump
from .errors import ParityError
from .inputs.chattts import (
    STORED_VERSIONS,
    make_inputs,
    recording,
    stored_inputs,
    stored_outputs,
    stored_reference,
)
from .inputs.make import inputs_with_pipeline
from .inputs.synthetic_voice import SAMPLE_RATE
from .mlx.backend import compute as compute_mlx
from .numpy.backend import compute as compute_numpy
from .numpy.chattts_backend import ChatTTSReference
from .numpy.chattts_backend import compute as compute_chattts
from .numpy.networks import networks_of
from .precisions import as_float32
from .progress import phase, say
from .report.provenance import METADATA_NAME, run_metadata
from .report.report import LAYERS_NAME, NUMPY_NAME, TORCH_NAME, ParityReport, dump_name, of_folder
from .settings import STORED_SEED, RunSettings
from .stages import ALL_STAGES, computable, stages_of
from .tables.stage import CHATTTS, PIPELINE
from .upstream.chattts_files import own_files
from .upstream.files import upstream_of
from .upstream.interpreter import find_interpreter
from .upstream.jobs import torch_dump
from .weights import converted_weights, is_of_chattts, located, upstream_weights
from .whole_file import write_text


def run(settings: RunSettings) -> ParityReport:
    """Compare our networks with both references; the work folder keeps the dumps.

    Raises:
        ParityError: the reference is not installed or failed.
        ChatterboxError: the weights cannot be converted or loaded, or the recording not read.
    """
    # Checked first: without a reference or the recording, minutes of work would be lost.
    python = "" if is_of_chattts(settings) else find_interpreter(settings.reference_python)
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
    for earlier in (METADATA_NAME, LAYERS_NAME, TORCH_NAME, NUMPY_NAME):
        (work / earlier).unlink(missing_ok=True)
    with phase("inputs"):
        is_second = settings.variant == CHATTTS
        inputs = (chattts_inputs if is_second else inputs_of)(
            upstream if is_second else converted, settings
        )
        inputs = wanted_inputs(inputs, settings)
        dumps = {"inputs": write_dump(work / "inputs.safetensors", inputs)}
    if is_second:
        dumps |= _chattts_references(work, upstream, inputs, settings)
    else:
        dumps |= _references(work, upstream, converted, inputs, settings, python)
    for precision in settings.precisions:
        folder = converted
        if precision != "float32":
            folder = converted_weights(work, upstream, settings, precision)
        dumps[f"mlx {precision}"] = _compute_ours(work, folder, inputs, precision)
    by_torch = read_dump_with_metadata(dumps["torch"])[1] if "torch" in dumps else {}
    metadata = run_metadata(settings, converted, dumps, by_torch)
    write_text(work / METADATA_NAME, json.dumps(metadata, indent=1) + "\n")
    # Read back, so that what is compared is what lies in the files.
    return of_folder(work, settings.precisions)


def _references(
    work: Path, upstream: Path, converted: Path, inputs: dict, settings: RunSettings, python: str
) -> dict[str, Path]:
    """Write the dumps of upstream's package and of NumPy."""
    dumps = {"torch": work / TORCH_NAME}
    with phase("torch reference"):
        model = upstream_of(upstream, settings.variant, settings.t3_file)
        source = work / "inputs.safetensors"
        torch_dump(python, upstream, source, dumps["torch"], model.variant, model.t3_file)
    with phase("numpy reference"):
        config = ModelConfig.load(converted)
        networks = networks_of(upstream, config, settings.variant, settings.t3_file)
        by_numpy = compute_numpy(inputs, networks)
        dumps["numpy"] = write_dump(work / NUMPY_NAME, by_numpy, {"backend": "numpy"})
    return dumps


def _chattts_references(
    work: Path, upstream: Path, inputs: dict, settings: RunSettings
) -> dict[str, Path]:
    """Write the dumps of NumPy and, where there is one for these weights, the stored reference."""
    dumps = {}
    outputs = stored_outputs(_stored(settings), inputs)
    if outputs:
        metadata = {"backend": "torch", "versions": json.dumps(STORED_VERSIONS)}
        dumps["torch"] = write_dump(work / TORCH_NAME, outputs, metadata)
    else:
        say("no stored tensors of ChatTTS's own modules for these: compared with NumPy alone.")
    with phase("numpy reference"):
        reference = ChatTTSReference(*own_files(upstream))
        by_numpy = compute_chattts(reference, inputs)
        dumps["numpy"] = write_dump(work / NUMPY_NAME, by_numpy, {"backend": "numpy"})
    return dumps


def chattts_inputs(upstream: Path, settings: RunSettings) -> dict:
    """Inputs for every stage of ChatTTS: those of the stored reference if it is of the weights."""
    if reference := _stored(settings):
        inputs = stored_inputs(reference)
        if settings.audio is not None:
            inputs["dvae/waveform"] = recording(settings.audio)
        return inputs
    return make_inputs(own_files(upstream)[1], settings.seed, settings.audio)


def _stored(settings: RunSettings) -> dict:
    """The stored reference; {} if it is of other weights than these, or not installed."""
    is_own = settings.weights is None and settings.seed == STORED_SEED
    return stored_reference() if is_own else {}


def _compute_ours(work: Path, folder: Path, inputs: dict, precision: str) -> Path:
    """Write the dump of our networks in a precision, as float32."""
    name = dump_name(precision)
    only = [stage.name for stage in ALL_STAGES if stage.name != PIPELINE or precision == "float32"]
    with phase(name.removesuffix(".safetensors")):
        ours = compute_mlx(folder, inputs, only)
        if precision != "float32":
            ours = as_float32(ours)
        metadata = {"backend": "mlx", "precision": precision}
        return write_dump(work / name, ours, metadata)


def inputs_of(converted: Path, settings: RunSettings) -> dict:
    """Inputs for every stage of the model in `converted`."""
    return inputs_with_pipeline(ModelConfig.load(converted), settings.seed, settings.audio)


def wanted_inputs(inputs: dict, settings: RunSettings) -> dict:
    """The inputs of the stages that are asked for; others are named on standard error.

    Raises:
        ParityError: a name that fits no stage of the variant.
    """
    if settings.only is None:
        return inputs
    table = computable(inputs, stages_of(settings.variant))
    for pattern in settings.only:
        if not any(fnmatchcase(stage.name, pattern) for stage in table):
            known = ", ".join(stage.name for stage in table)
            raise ParityError(f"--stages {pattern}: no such stage; there are {known}.")
    asked = [s for s in table if any(fnmatchcase(s.name, one) for one in settings.only)]
    names = {name for stage in asked for name in (*stage.inputs, *stage.optional_inputs)}
    wanted = {name: value for name, value in inputs.items() if name in names}
    kept = {stage.name for stage in computable(wanted, table)}
    say(f"left out: {', '.join(stage.name for stage in table if stage.name not in kept)}")
    return wanted


@contextlib.contextmanager
def work_folder(work: Path | None) -> Iterator[Path]:
    """The given folder, kept; or a temporary one, removed at the end in any case."""
    if work is not None:
        work.mkdir(parents=True, exist_ok=True)
        yield work
        return
    with tempfile.TemporaryDirectory(prefix="mlx-chatterbox-parity-") as temporary:
        yield Path(temporary)
