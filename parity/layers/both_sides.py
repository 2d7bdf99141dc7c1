"""Taps of both sides for a model, which `bisect` and `mutate` compare."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import mlx.nn as nn
import numpy as np

from mlx_chatterbox.weights.checkpoint import build, load
from mlx_chatterbox.weights.conversion.core import convert_folder

from ..dumps import read_dump, write_dump
from ..fabricate.checkpoint import fabricate
from ..fabricate.small import SMALL_SIZES, small_config
from ..fabricate.small_chattts import write_small_chattts
from ..inputs.chattts import make_inputs as make_chattts_inputs
from ..inputs.make import make_inputs
from ..numpy.chattts_backend import ChatTTSReference, compute, record
from ..tables.stage import CHATTTS
from ..taps.recording import CALLS, Tap, read_taps
from ..taps.upstream_names import upstream_names
from ..upstream.chattts_files import load_chattts, own_files
from ..upstream.files import upstream_of
from ..upstream.jobs import dump_job, run_jobs, taps_job


def write_names(path: str | Path, networks) -> Path:
    """Write the names of a model's layers on both sides, for the reference's process."""
    # Identity layers stand for upstream's activations, which are functions here.
    paths = [
        name
        for name, layer in networks.named_modules()
        if name and not isinstance(layer, nn.Identity)
    ]
    path = Path(path)
    path.write_text(json.dumps(upstream_names(paths)), encoding="utf-8")
    return path


def torch_taps(
    python: str,
    upstream,
    networks,
    inputs: str | Path,
    output: str | Path,
    stages: Sequence[str] | None = None,
    calls: int = CALLS,
) -> Path:
    """Have upstream's taps written.

    Args:
        upstream: `upstream.files.Upstream`.
        networks: ours of the same model, for the layers' names.
        inputs: dump with the stages' inputs.

    Raises:
        ParityError: the reference failed; the message is its own.
    """
    output = Path(output)
    with tempfile.TemporaryDirectory() as folder:
        names = write_names(Path(folder, "names.json"), networks)
        run_jobs(python, [taps_job(upstream, inputs, names, output, stages, calls)])
    return output


@dataclass
class SmallModel:
    """A small model with inputs, and the reference's results for them: upstream's, or NumPy's.

    Attributes:
        converted: our checkpoint.
        outputs, taps: the reference's.
    """

    variant: str
    converted: Path
    inputs: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]
    taps: list[Tap]

    def networks(self):
        """Load our networks anew."""
        return self.load().networks

    def load(self):
        """Load our checkpoint anew."""
        return (load_chattts if self.variant == CHATTTS else load)(self.converted)


def small_models(
    work: Path, python: Callable[[], str], variants: Sequence[str]
) -> dict[str, SmallModel]:
    """Make small models of these variants, with upstream's side in one process of PyTorch.

    Args:
        work: where to; what is there of an earlier call is used again.
        python: finds the reference's interpreter, which ChatTTS does not need.
    """
    jobs = []
    models = {}
    if CHATTTS in variants:
        models[CHATTTS] = small_chattts_model(work / CHATTTS)
    variants = [variant for variant in variants if variant != CHATTTS]
    for variant in variants:
        folder = work / variant
        if (folder / "torch.taps").is_file():
            continue
        config = small_config(variant)
        upstream = fabricate(folder / "upstream", variant=variant, config=config, seed=1)
        if not (folder / "converted").is_dir():
            convert_folder(upstream, folder / "converted", variant=variant, config=config)
        inputs = write_dump(
            folder / "inputs.safetensors", make_inputs(config, seed=5, sizes=SMALL_SIZES)
        )
        config.save(folder)
        files = upstream_of(upstream, variant)
        names = write_names(folder / "names.json", build(config))
        sizes = folder / "config.json"
        jobs.append(dump_job(files, inputs, folder / "torch.safetensors", sizes))
        jobs.append(taps_job(files, inputs, names, folder / "torch.taps", config=sizes))
    if jobs:
        run_jobs(python(), jobs)
    return {**models, **{variant: _small_model(work / variant, variant) for variant in variants}}


def small_chattts_model(folder: Path) -> SmallModel:
    """Make a small ChatTTS, with NumPy's side."""
    upstream = write_small_chattts(folder / "upstream", seed=1)
    if not (folder / "converted").is_dir():
        convert_folder(upstream, folder / "converted")
    source, config = own_files(upstream)
    inputs = make_chattts_inputs(config, seed=5)
    reference = ChatTTSReference(source, config)
    outputs, taps = compute(reference, inputs), record(reference, inputs)
    return SmallModel(CHATTTS, folder / "converted", inputs, outputs, taps)


def _small_model(folder: Path, variant: str) -> SmallModel:
    file = read_taps(folder / "torch.taps")
    outputs = read_dump(folder / "torch.safetensors")
    return SmallModel(variant, folder / "converted", file.inputs, outputs, file.taps)
