"""Code of a saved `reproduce.py`: one layer, called by itself.

It runs where MLX is, or PyTorch, or both: each is imported by the function that asks it.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np

from ..dumps import read_dump
from ..errors import ParityError
from ..taps.names import ATTENDS, MORE_CALLS
from ..taps.recording import Arrays
from .bisect import TOLERANCE, error


def reproduce(folder: Path) -> int:
    """Call the layer saved in `folder`, wherever it can be, and print the errors.

    Returns:
        0 if everything that could be called agrees with the reference, 1 if not.
    """
    metadata = json.loads((folder / "layer.json").read_text(encoding="utf-8"))
    inputs = read_dump(folder / "inputs.safetensors")
    expected = read_dump(folder / "expected.safetensors")
    print(f"{metadata['name']}, call {metadata['call']} of stage {metadata['stage']}")
    if metadata["fault"]:
        print(f"planted on purpose: {metadata['fault']}")
    agrees = _print("found", expected, read_dump(folder / "found.safetensors"))
    for title, module, function in (
        ("mlx", "mlx", _by_mlx),
        ("torch", "chatterbox", _by_torch),
    ):
        if importlib.util.find_spec(module) is None:
            print(f"{title}: not installed here")
            continue
        try:
            _check_alone(metadata)
            result = function(folder, metadata, inputs)
        except ParityError as problem:
            print(f"{title}: {problem}")
            continue
        held = _print(title, expected, result)
        # The result of MLX now outweighs the one that was saved.
        agrees = held if title == "mlx" else agrees and held
    return 0 if agrees else 1


def _check_alone(metadata: dict) -> None:
    """Refuse an attention of Flash's blocks.

    Raises:
        ParityError: it attends to what came before, which is not among its inputs.
    """
    later = metadata["stage"] in MORE_CALLS and metadata["call"] > 1
    if later and ATTENDS.search(metadata["name"]):
        raise ParityError("it attends to what is in the cache, which is not saved.")


def _print(title: str, expected: Arrays, result: Arrays) -> bool:
    errors = {name: error(expected[name], result[name]) for name in expected if name in result}
    for name, value in errors.items():
        print(f"{title}: output {name}: relative rms error {value:.3g}, {result[name].shape}")
    return all(value <= TOLERANCE for value in errors.values())


def _by_mlx(folder: Path, metadata: dict, inputs: Arrays) -> Arrays:
    import mlx.core as mx
    from mlx.utils import tree_unflatten

    from mlx_chatterbox.models.chattts.config import ChatTTSConfig
    from mlx_chatterbox.models.chattts.networks import ChatTTSNetworks
    from mlx_chatterbox.weights.checkpoint import build
    from mlx_chatterbox.weights.configuration import read_config

    from ..faults.planting import planted
    from ..mlx.layers import call

    if metadata["checkpoint"] is not None:
        return _stage_by_mlx(metadata, inputs)
    config = read_config(folder)
    is_second = isinstance(config, ChatTTSConfig)
    networks = ChatTTSNetworks(config) if is_second else build(config)
    file = folder / "weights.safetensors"
    if file.is_file():
        weights = {key: mx.array(value) for key, value in read_dump(file).items()}
        networks.update(tree_unflatten(list(weights.items())))
    # The saved weights contain the fault; only code is planted again.
    with planted(metadata["fault"], None):
        return call(networks, metadata["name"], inputs)


def _stage_by_mlx(metadata: dict, inputs: Arrays) -> Arrays:
    from mlx_chatterbox.weights.checkpoint import load
    from mlx_chatterbox.weights.hub import holds_chattts

    from ..faults.planting import planted
    from ..mlx.backend import compute_with
    from ..upstream.chattts_files import load_chattts

    folder = Path(metadata["checkpoint"])
    networks = (load_chattts if holds_chattts(folder) else load)(folder).networks
    with planted(metadata["fault"], networks):
        return compute_with(networks, inputs, [metadata["stage"]])


def _by_torch(folder: Path, metadata: dict, inputs: Arrays) -> Arrays:
    from ..torch.layers import call

    if metadata["upstream"] is None:
        raise ParityError(
            "a function or a stage, which is not called alone; the reference's outputs are saved."
        )
    network, path = metadata["upstream"]
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    weights = {key: np.array(v) for key, v in read_dump(folder / "upstream.safetensors").items()}
    return call(config, network, path, metadata["name"], weights, inputs)
