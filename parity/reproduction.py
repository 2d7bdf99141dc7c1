"""A folder that reproduces a difference: what one layer got, made, and should have made.

`reproduce.py` in it builds that layer alone, from the weights beside it, and prints the error: in
MLX, in PyTorch, or in both, whichever is there.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .bisect import Finding, error
from .dumps import read_dump, write_dump
from .errors import ParityError
from .stages import STAGES
from .taps import Arrays
from .whole import write_text

SCRIPT = '''\
"""{name}, call {call} of stage {stage}, by itself.

Needs the packages `parity` and `mlx_chatterbox` (run it in a clone's root, or install them), and
for upstream's side its PyTorch package. Beside it: inputs.safetensors (the reference's),
expected.safetensors (what the reference made of them), found.safetensors (what was found),
weights.safetensors (the layer's, in MLX's layout), upstream.safetensors (the same in PyTorch's),
config.json. If PyTorch too differs with these weights, it is the weights that are wrong.
"""

import os
import sys
from pathlib import Path

sys.path[:0] = [os.getcwd(), {root!r}]

from parity.reproduction import reproduce

if __name__ == "__main__":
    sys.exit(reproduce(Path(__file__).parent))
'''


@dataclass(frozen=True)
class Model:
    """What a reproduction is made of.

    Attributes:
        networks, config: ours.
        checkpoint: their folder.
        inputs: the dump that the stages read.
    """

    networks: object
    config: object
    checkpoint: Path
    inputs: Mapping[str, np.ndarray]


def save(finding: Finding, folder: str | Path, model: Model, fault: str = "") -> Path:
    """Write the folder for a finding's culprit.

    Where it is a stage's own code the folder has the stage's inputs, and names the checkpoint
    instead of copying all its weights.

    Args:
        fault: name of the fault planted on purpose, if one was.

    Raises:
        ParityError: nothing was found, or the folder cannot be written.
    """
    if finding.culprit is None:
        raise ParityError(f"stage {finding.stage}: nothing differs, there is nothing to save.")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    step = finding.culprit
    about = {
        "stage": finding.stage,
        "name": step.found.name,
        "call": step.found.call,
        "input_errors": step.inputs,
        "output_errors": step.outputs,
        "fault": fault,
        "checkpoint": None,
        "upstream": None,
    }
    if step.found.is_stage:
        stage = next(one for one in STAGES if one.name == finding.stage)
        names = (*stage.inputs, *stage.optional_inputs)
        inputs = {name: model.inputs[name] for name in names if name in model.inputs}
        about["checkpoint"] = str(Path(model.checkpoint).resolve())
    else:
        # What only one side recorded (flow times, noise) is needed to call the layer again.
        inputs = {**step.found.inputs, **step.expected.inputs}
        about["upstream"] = _write_weights(folder, model.networks, model.config, step.found.name)
    write_dump(folder / "inputs.safetensors", inputs)
    write_dump(folder / "expected.safetensors", step.expected.outputs)
    write_dump(folder / "found.safetensors", step.found.outputs)
    model.config.save(folder)
    write_text(folder / "layer.json", json.dumps(about, indent=2) + "\n")
    root = str(Path(__file__).resolve().parent.parent)
    script = SCRIPT.format(
        name=step.found.name, call=step.found.call, stage=finding.stage, root=root
    )
    write_text(folder / "reproduce.py", script)
    return folder


def _write_weights(folder: Path, networks, config, name: str) -> list[str] | None:
    """Ours and upstream's; returns upstream's network and path of the layer, or None."""
    from mlx.utils import tree_flatten

    from convert.upstream import to_upstream

    from .layers import layer_at
    from .mlx_taps import as_numpy
    from .tap_names import upstream_names

    layer = layer_at(networks, name)
    if layer is None:
        return None
    weights = {f"{name}.{key}": value for key, value in tree_flatten(layer.parameters())}
    write_dump(
        folder / "weights.safetensors", {key: as_numpy(value) for key, value in weights.items()}
    )
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


def reproduce(folder: Path) -> int:
    """Call the layer saved in `folder`, wherever it can be, and print the errors.

    Returns:
        0 if everything that could be called agrees with the reference, 1 if not.
    """
    about = json.loads((folder / "layer.json").read_text(encoding="utf-8"))
    inputs = read_dump(folder / "inputs.safetensors")
    expected = read_dump(folder / "expected.safetensors")
    print(f"{about['name']}, call {about['call']} of stage {about['stage']}")
    if about["fault"]:
        print(f"planted on purpose: {about['fault']}")
    agrees = _print("found", expected, read_dump(folder / "found.safetensors"))
    for title, module, function in (
        ("mlx", "mlx", _by_mlx),
        ("torch", "chatterbox", _by_torch),
    ):
        if importlib.util.find_spec(module) is None:
            print(f"{title}: not installed here")
            continue
        try:
            result = function(folder, about, inputs)
        except ParityError as problem:
            print(f"{title}: {problem}")
            continue
        held = _print(title, expected, result)
        # What MLX makes now counts for more than what was found then.
        agrees = held if title == "mlx" else agrees and held
    return 0 if agrees else 1


def _print(title: str, expected: Arrays, result: Arrays) -> bool:
    from .bisect import TOLERANCE

    errors = {name: error(expected[name], result[name]) for name in expected if name in result}
    for name, value in errors.items():
        print(f"{title}: output {name}: relative rms error {value:.3g}, {result[name].shape}")
    return all(value <= TOLERANCE for value in errors.values())


def _by_mlx(folder: Path, about: dict, inputs: Arrays) -> Arrays:
    import mlx.core as mx
    from mlx.utils import tree_unflatten

    from mlx_chatterbox.checkpoint import build
    from mlx_chatterbox.config import ModelConfig

    from .layers import call
    from .mutations import planted

    if about["checkpoint"] is not None:
        return _stage_by_mlx(about, inputs)
    networks = build(ModelConfig.load(folder))
    file = folder / "weights.safetensors"
    if file.is_file():
        weights = {key: mx.array(value) for key, value in read_dump(file).items()}
        networks.update(tree_unflatten(list(weights.items())))
    # The weights were saved with the fault in them: what is planted again is code.
    with planted(about["fault"], None):
        return call(networks, about["name"], inputs)


def _stage_by_mlx(about: dict, inputs: Arrays) -> Arrays:
    from mlx_chatterbox.checkpoint import load

    from .mlx_backend import compute_with
    from .mutations import planted

    networks = load(about["checkpoint"]).networks
    with planted(about["fault"], networks):
        return compute_with(networks, inputs, [about["stage"]])


def _by_torch(folder: Path, about: dict, inputs: Arrays) -> Arrays:
    from .torch_layers import call

    if about["upstream"] is None:
        raise ParityError("a function, or a stage; what the reference made of it is saved.")
    network, path = about["upstream"]
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    weights = {key: np.array(v) for key, v in read_dump(folder / "upstream.safetensors").items()}
    return call(config, network, path, about["name"], weights, inputs)
