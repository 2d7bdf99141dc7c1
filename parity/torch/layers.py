"""One layer of upstream's, called with the inputs of a tap; needs PyTorch, not MLX."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import ParityError
from ..taps.names import CHANNELS_SECOND_IN, PADDED_OUTSIDE
from ..taps.recording import Arrays
from . import env
from .sized import SizedNetworks
from .taps import _kind, _outputs

_VARIANT_OF_BACKBONE = {"gpt2": "turbo", "llama": "english"}


def call(
    config: Mapping[str, Any],
    network: str,
    path: str,
    name: str,
    weights: Mapping[str, np.ndarray],
    inputs: Mapping[str, np.ndarray],
) -> Arrays:
    """Call a layer of upstream's.

    Args:
        config: `config.json` of ours, for the sizes.
        network, path: where upstream has it.
        name: the tap's.
        weights: of the layer, under upstream's names in it.
        inputs: as recorded by the tap, channels last.

    Raises:
        ParityError: it takes more than can be given to it here.
    """
    env.prepare()
    import torch

    networks = SizedNetworks(config, None, _VARIANT_OF_BACKBONE[config["t3"]["backbone"]])
    whole = getattr(networks, f"_build_{network}")().eval()
    layer = whole.get_submodule(path)
    layer.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in weights.items()})
    with torch.inference_mode():
        return _outputs(_kind(layer), name, layer(*_arguments(layer, name, inputs)))


def _arguments(layer, name: str, inputs: Mapping[str, np.ndarray]) -> list:
    import torch

    kind = _kind(layer)
    x = np.array(inputs["x"]) if "x" in inputs else None
    for pattern, before, after in PADDED_OUTSIDE:
        if pattern.search(name):
            x = np.pad(x, [(0, 0), (before, after), (0, 0)])
    if x is None or set(inputs) - {"x", "time", "positions", "context"}:
        raise ParityError(f"{name} is not called alone in PyTorch; its outputs are saved.")
    if kind in CHANNELS_SECOND_IN and x.ndim > 2:
        x = np.moveaxis(x, -1, 1)
    tensor = torch.from_numpy(np.ascontiguousarray(x))
    if tensor.dtype == torch.int32:
        tensor = tensor.long()
    masked = {"CausalBlock1D", "CausalResnetBlock1D"}
    if kind == "CausalBlock1D":
        return [tensor, torch.ones(len(x), 1, x.shape[-1])]
    if "context" in inputs:
        return [tensor, torch.from_numpy(np.array(inputs["context"]))]
    if set(inputs) != {"x"} or kind in masked or "Llama" in kind or kind.startswith("GPT2Att"):
        raise ParityError(f"{name} is not called alone in PyTorch; its outputs are saved.")
    return [tensor]
