"""The weights that the package resemble-perth carries, read as a file."""

from __future__ import annotations

import importlib.metadata
from functools import cache
from pathlib import Path

import mlx.core as mx
import numpy as np

from ..checks.plain import shown
from ..errors import CheckpointError
from .network import PerthNet
from .spectrogram import BAND

PACKAGE = "resemble-perth"
ENDING = ".pth.tar"
INSTALL = (
    f"`pip install '{PACKAGE}~=1.0.1'`, or turn the watermark off (--no-watermark, watermark=False)"
)


def weights_file() -> Path:
    """The path of the weights in the installed package.

    The package is not imported: that would need PyTorch, and fails on many Macs for want of
    pkg_resources.

    Raises:
        CheckpointError: the package, or the file in it, is missing.
    """
    try:
        files = importlib.metadata.files(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        raise CheckpointError(
            f"the watermark's weights are missing: {PACKAGE} is not installed; {INSTALL}."
        ) from None
    paths = [Path(file.locate()) for file in files if file.name.endswith(ENDING)]
    if len(paths) != 1 or not paths[0].is_file():
        raise CheckpointError(
            f"the watermark's weights are missing from the installed {PACKAGE}; {INSTALL}."
        )
    return paths[0]


def is_wanted(asked: bool | None, default: bool) -> bool:
    """Decide whether speech is to be marked; load the weights for it now, before the work.

    Args:
        asked: the caller's choice; None: the checkpoint's setting, `default`.

    Raises:
        CheckpointError: it is to be marked, and the weights are not installed.
    """
    wanted = default if asked is None else asked
    if wanted:
        load_networks()
    return wanted


@cache
def load_networks() -> PerthNet:
    """Load encoder and decoder with their weights, once a process (37 MB).

    Raises:
        CheckpointError: the file is missing, damaged, or holds other weights.
    """
    from mlx_chatterbox.weights.formats.unpickle import load_torch

    path = weights_file()
    content = load_torch(path)
    stored = content.get("model") if isinstance(content, dict) else None
    if not isinstance(stored, dict):
        raise CheckpointError(f"{path} holds no model; {INSTALL}.")
    weights = []
    for name, value in stored.items():
        if name.startswith("ap."):  # windows of the transform, which are computed here
            continue
        if not isinstance(value, np.ndarray):
            raise CheckpointError(f"{path} holds {shown(name)}, which is not a tensor; {INSTALL}.")
        # (out, in, kernel) in PyTorch, (out, kernel, in) here.
        moved = value.transpose(0, 2, 1) if value.ndim == 3 else value
        # In this order in memory too, or every use would copy it.
        weights.append((name, mx.array(np.ascontiguousarray(moved))))
    networks = PerthNet(BAND)
    try:
        networks.load_weights(weights)
    except ValueError as error:
        raise CheckpointError(f"{path} holds other weights than expected: {error}") from None
    mx.eval(networks.parameters())
    networks.eval()
    return networks
