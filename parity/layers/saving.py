"""Saves a difference for reproduction: one layer's inputs, outputs, expected outputs, weights.

`reproduce.py` in it builds that layer alone, from the weights beside it, and prints the error: in
MLX, in PyTorch, or in both, whichever is there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mlx.utils import tree_flatten

import mlx_chatterbox
from mlx_chatterbox.models.chattts.config import ChatTTSConfig
from mlx_chatterbox.weights.conversion.upstream import to_upstream

from ..dumps import write_dump
from ..errors import ParityError
from ..mlx.layers import layer_at
from ..mlx.taps import as_numpy
from ..stages import expanded
from ..taps.upstream_names import upstream_names
from ..whole_file import write_text
from .bisect import Bisection

SCRIPT = '''\
"""{name}, call {call} of stage {stage}, by itself.

Needs the packages `{package}` and `mlx_chatterbox` (run it in a clone's root, or install them), and
for upstream's side its PyTorch package. Beside it: inputs.safetensors (the reference's),
expected.safetensors (what the reference made of them), found.safetensors (what the layer made),
weights.safetensors (the layer's, in MLX's layout), upstream.safetensors (the same in PyTorch's),
config.json. If PyTorch too differs with these weights, it is the weights that are wrong.
"""

import os
import sys
from pathlib import Path

sys.path[:0] = [os.getcwd(), {root!r}]

from {package}.layers.reproduction import reproduce

if __name__ == "__main__":
    sys.exit(reproduce(Path(__file__).parent))
'''


@dataclass(frozen=True)
class Model:
    """A model whose layer is saved.

    Attributes:
        networks, config: ours.
        checkpoint: their folder.
        inputs: the dump that the stages read.
    """

    networks: object
    config: object
    checkpoint: Path
    inputs: Mapping[str, np.ndarray]


def save(finding: Bisection, folder: str | Path, model: Model, fault: str = "") -> Path:
    """Write the folder for a finding's culprit.

    Where it is a stage's own code the folder has the stage's inputs, and names the checkpoint
    instead of copying all its weights.

    Args:
        fault: name of the fault planted on purpose, if one was.

    Raises:
        ParityError: nothing was found, or the folder cannot be written.
    """
    if finding.culprit is None:
        raise ParityError(f"stage {finding.stage}: nothing differs, so there is nothing to save.")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    step = finding.culprit
    metadata = {
        "stage": finding.stage,
        "name": step.actual.name,
        "call": step.actual.call,
        "input_errors": step.inputs,
        "output_errors": step.outputs,
        "fault": fault,
        "checkpoint": None,
        "upstream": None,
    }
    if step.actual.is_stage:
        stage = next(stage for stage in expanded(model.inputs) if stage.name == finding.stage)
        names = (*stage.inputs, *stage.optional_inputs)
        inputs = {name: model.inputs[name] for name in names if name in model.inputs}
        metadata["checkpoint"] = str(Path(model.checkpoint).resolve())
    else:
        # Inputs that only one side recorded (flow times, noise) are needed to call the layer again.
        inputs = {**step.actual.inputs, **step.expected.inputs}
        metadata["upstream"] = _write_weights(
            folder, model.networks, model.config, step.actual.name
        )
    write_dump(folder / "inputs.safetensors", inputs)
    write_dump(folder / "expected.safetensors", step.expected.outputs)
    write_dump(folder / "found.safetensors", step.actual.outputs)
    model.config.save(folder)
    write_text(folder / "layer.json", json.dumps(metadata, indent=2) + "\n")
    script = SCRIPT.format(
        name=step.actual.name,
        call=step.actual.call,
        stage=finding.stage,
        root=str(Path(mlx_chatterbox.__file__).resolve().parents[1]),
        package=__name__.rpartition(".layers.")[0],
    )
    write_text(folder / "reproduce.py", script)
    return folder


def _write_weights(folder: Path, networks, config, name: str) -> list[str] | None:
    """Write both sides' weights; returns upstream's network and path of the layer, or None."""
    layer = layer_at(networks, name)
    if layer is None:
        return None
    weights = {f"{name}.{key}": value for key, value in tree_flatten(layer.parameters())}
    write_dump(
        folder / "weights.safetensors", {key: as_numpy(value) for key, value in weights.items()}
    )
    if isinstance(config, ChatTTSConfig):
        return None  # its code is not run here
    where = next((row for row in upstream_names([name]) if row[2] == name), None)
    if where is None or not weights:
        return None
    network, path, _ = where
    prefix = f"{path}." if path else ""
    if any(key.endswith((".scales", ".biases")) for key in weights):
        return None  # of few bits, which upstream has not
    files = to_upstream(weights, filter_buffers=False, variant=config.variant)
    upstream = {
        key.removeprefix(prefix): as_numpy(value)
        for tensors in files.values()
        for key, value in tensors.items()
        if key.startswith(prefix)
    }
    write_dump(folder / "upstream.safetensors", upstream)
    return [network, path]
