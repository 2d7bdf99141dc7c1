"""Both sides' taps for a model: where `bisect` and `mutate` get what they compare."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .compare import compare
from .dumps import read_dump, write_dump
from .reference import dump_job, run_jobs, taps_job, upstream_of
from .taps import CALLS, Tap, read_taps


def write_names(path: str | Path, networks) -> Path:
    """The names of a model's layers on both sides, for the reference's process."""
    import mlx.nn as nn

    from .tap_names import upstream_names

    # Ours stand for upstream's activations, which are functions here.
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
    """Write upstream's taps.

    Args:
        upstream: `reference.Upstream`.
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
    """A small model with inputs, and what upstream makes of them.

    Attributes:
        converted: our checkpoint.
        outputs, taps: upstream's.
    """

    variant: str
    converted: Path
    inputs: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]
    taps: list[Tap]

    def networks(self):
        """Ours, freshly loaded."""
        from mlx_chatterbox.checkpoint import load

        return load(self.converted).networks


def small_models(work: Path, python: str, variants: Sequence[str]) -> dict[str, SmallModel]:
    """Small models of these variants, upstream's side in one process of PyTorch.

    Args:
        work: where to; what is there of an earlier call is used again.
    """
    from convert.core import convert_folder

    from .fabricate import fabricate
    from .inputs import make_inputs
    from .small import SMALL_SIZES, small_config

    jobs = []
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
        from mlx_chatterbox.checkpoint import build

        found = upstream_of(upstream, variant)
        names = write_names(folder / "names.json", build(config))
        sizes = folder / "config.json"
        jobs.append(dump_job(found, inputs, folder / "torch.safetensors", sizes))
        jobs.append(taps_job(found, inputs, names, folder / "torch.taps", config=sizes))
    if jobs:
        run_jobs(python, jobs)
    return {variant: _small_model(work / variant, variant) for variant in variants}


def _small_model(folder: Path, variant: str) -> SmallModel:
    file = read_taps(folder / "torch.taps")
    outputs = read_dump(folder / "torch.safetensors")
    return SmallModel(variant, folder / "converted", file.inputs, outputs, file.taps)


@dataclass(frozen=True)
class Mutant:
    """What became of one planted fault.

    Attributes:
        caught: whether `run` would have shown red.
        named: the layer that `bisect` pointed to; empty if none.
        expected: the layer that it is in.
    """

    fault: str
    caught: bool
    named: str
    expected: str

    @property
    def found(self) -> bool:
        return self.named == self.expected


def mutant(model: SmallModel, fault) -> Mutant:
    """Plant one fault in a small model, compare and bisect."""
    from .bisect import bisect, first_fault
    from .mlx_backend import compute_with, record_with
    from .mutations import planted

    networks = model.networks()
    with planted(fault.name, networks):
        outputs = compute_with(networks, model.inputs, fault.stages)
        taps = record_with(networks, model.inputs, fault.stages)
    expected = {name: value for name, value in model.outputs.items() if name in outputs}
    caught = not compare(expected, outputs).holds
    finding = first_fault(bisect(model.taps, taps, fault.stages))
    named = "" if finding is None else finding.culprit.found.name
    return Mutant(fault.name, caught, named, fault.layer)


def mutants_as_text(mutants: Sequence[Mutant]) -> str:
    """A line a fault, then how many were caught and named."""
    width = max((len(one.fault) for one in mutants), default=0)
    lines = []
    for one in mutants:
        verdict = "caught" if one.caught else "NOT CAUGHT"
        where = f"named {one.named}"
        if not one.found:
            where = f"NAMED {one.named or 'nothing'} instead of {one.expected}"
        lines.append(f"{one.fault.ljust(width)}  {verdict}  {where}")
    caught, named = sum(one.caught for one in mutants), sum(one.found for one in mutants)
    count = len(mutants)
    return "\n".join([*lines, "", f"{caught} of {count} caught, {named} of {count} named."])
